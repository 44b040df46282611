"""River that the street crosses: its water, its walls, and houses on the far bank."""

from collections.abc import Iterator

import numpy as np

from nightrain.datasets.world.objects.buildings import WALLS
from nightrain.datasets.world.shapes.mesh import Mesh, grid, join_meshes
from nightrain.datasets.world.shapes.solids import Shape, Solid, Surface
from nightrain.datasets.world.street.ground_mesh import far_m
from nightrain.datasets.world.street.placing import block, one_of
from nightrain.datasets.world.street.street import KERB_HEIGHT_M, Street

DEPTH_M = 3.4  # of the water surface below the lowest point of the bridge
WALL_COLOUR = (0.26, 0.25, 0.22)


def river(rng: np.random.Generator, street: Street) -> Iterator[Solid]:
    """Water on both sides of the bridge, walls down to it, and a distant row of houses."""
    low, high = street.river_m
    x = np.linspace(low, high, 13)
    level = float(street.hills.height_m(street.points_m(x, 0.0)[0]).min()) - DEPTH_M
    sheets, walls = [], []
    for side in (-1, 1):
        near, far = side * street.back_m, side * far_m(street)
        sheets.append(_sheet(street, x, near, far, level))
        walls.append(_wall(street, x, np.full(13, near), level))
        for end in (low, high):
            walls.append(_wall(street, np.full(2, end), np.array([near, far]), level))
        for at in np.arange(low - 20, high + 20, 14.0):
            half = (7.0, 6.0, float(rng.uniform(6, 10)))
            wall = one_of(rng, WALLS)
            yield block(street, Surface.FACADE, float(at), far - side * 6.5, half, -4.0,
                        colour=wall, accent=wall, seed=7 * int(rng.integers(99)) + 4)  # fmt: skip
    yield Solid(shape=Shape.MESH, surface=Surface.WATER, mesh=join_meshes(sheets))
    yield Solid(shape=Shape.MESH, surface=Surface.CONCRETE, mesh=join_meshes(walls),
                colour=WALL_COLOUR, label=3)  # fmt: skip


def _sheet(street: Street, x: np.ndarray, near: float, far: float, level: float) -> Mesh:
    points = street.points_m(x[:, None], np.array([[near, far]]))  # (2, K, 2)
    return grid(np.stack([*points, np.full(points.shape[1:], level)], -1))


def _wall(street: Street, x: np.ndarray, d: np.ndarray, level: float) -> Mesh:
    """Wall from the kerb's height to below the water, along points (K,) of x and d."""
    px, py = street.points_m(x, d)
    high = street.hills.height_m(px) + KERB_HEIGHT_M
    lines = [np.stack([px, py, z], -1) for z in (np.full_like(px, level - 0.2), high)]
    return grid(np.stack(lines, 1))
