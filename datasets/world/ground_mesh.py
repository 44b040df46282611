"""The ground as triangles: the road within the kerbs and lawn beyond them."""

from collections.abc import Iterator

import numpy as np

from datasets.world.mesh import Mesh, grid
from datasets.world.solids import Shape, Solid, Surface
from datasets.world.street import Street

STEP_M = 10.0
LAWN_M = 150.0  # how far the lawn reaches to either side


def ground(street: Street) -> Iterator[Solid]:
    """The road and the lawns of a street, level with z = 0."""
    half = street.half_road_m
    for surface, left, right in (
        (Surface.STREET, half, -half),
        (Surface.LAWN, LAWN_M, half),
        (Surface.LAWN, -half, -LAWN_M),
    ):
        yield Solid(shape=Shape.MESH, surface=surface, mesh=_strip(street, left, right))


def _strip(street: Street, left_m: float, right_m: float) -> Mesh:
    x = np.arange(-60.0, street.length_m + 60.0, STEP_M)
    rows = [[(*street.place(float(at), d), 0.0) for at in x] for d in (right_m, left_m)]
    return grid(np.array(rows).transpose(1, 0, 2))
