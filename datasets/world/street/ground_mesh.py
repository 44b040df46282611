"""Ground mesh: carriageways, kerbs, pavements and the land beyond, without gaps.

The ground is divided into cells along and across the main street. Each cell has one surface and one
height above the hills; a kerb joins cells of different height.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from nightrain.datasets.world.shapes.mesh import Mesh, grid, join_meshes
from nightrain.datasets.world.shapes.solids import Shape, Solid, Surface
from nightrain.datasets.world.street.street import KERB_HEIGHT_M, Street

STEP_M = 4.0
FAR_M = 170.0  # extent of the ground to either side
CORNER_SIDES = 8
_BEYOND = {
    "shops": Surface.PAVEMENT,
    "houses": Surface.LAWN,
    "park": Surface.LAWN,
    "yards": Surface.YARD,
}
_ROADS = (Surface.STREET, Surface.CROSS_STREET)


def ground(street: Street) -> Iterator[Solid]:
    """Ground of a street and of its cross street, following the hills."""
    x, d = _lines_x(street), _lines_d(street)
    surface = _surfaces(street, x, d)  # (I, J)
    corners = _round_corners(street)
    parts: dict[int, list[Mesh]] = {}
    for j in range(surface.shape[1]):
        kinds = [-1 if (*x[i : i + 2], *d[j : j + 2]) in corners else int(surface[i, j])
                 for i in range(len(x) - 1)]  # fmt: skip
        for kind, first, last in _runs(kinds):
            if kind not in (-1, Surface.WATER):  # the river is lower: see `rivers`
                points = _points(
                    street, x[first : last + 1, None], d[None, j : j + 2], _lift_m(kind)
                )
                parts.setdefault(kind, []).append(grid(points))
    for kind, mesh in (*_kerbs(street, x, d, surface, corners), *_corner_meshes(street, corners)):
        parts.setdefault(kind, []).append(mesh)
    for kind, meshes in sorted(parts.items()):
        yield Solid(shape=Shape.MESH, surface=Surface(kind), mesh=join_meshes(meshes))


def far_m(street: Street) -> float:
    """Distance from the main street's centre line to the edge of the ground, metres."""
    return max(FAR_M, street.cross.length_m / 2 + 60.0) if street.cross else FAR_M


def _lines_x(street: Street) -> np.ndarray:
    lines = np.arange(-60.0, street.length_m + 60.0 + STEP_M, STEP_M)
    cross = street.cross
    edges = [cross.half_road_m, cross.back_m] if cross else []
    at = np.array([street.cross_at_m + side * edge for side in (-1, 1) for edge in edges])
    if street.river_m[1] > street.river_m[0]:
        at = np.concatenate([at, street.river_m])
    if not len(at):
        return lines
    apart = np.abs(lines[:, None] - at).min(1) > 0.3 * STEP_M
    return np.sort(np.concatenate([lines[apart], at]))


def _lines_d(street: Street) -> np.ndarray:
    half = [street.half_road_m, street.back_m, street.front_m + 14.0, far_m(street)]
    return np.array([*(-h for h in half[::-1]), *half])


def _surfaces(street: Street, x: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Surface (I, J) of each cell."""
    mid_x, mid_d = (x[1:] + x[:-1]) / 2, (d[1:] + d[:-1]) / 2
    away = np.abs(mid_d)
    beyond = np.where(mid_d < 0, _BEYOND[street.sides[0]], _BEYOND[street.sides[1]])
    across = np.where(away < street.half_road_m, Surface.STREET, beyond)
    paved = (away > street.half_road_m) & (away < street.back_m)
    across = np.where(paved, Surface.PAVEMENT, across)
    surface = np.repeat(across[None], len(mid_x), 0)
    low, high = street.river_m
    over = ((mid_x > low) & (mid_x < high))[:, None] & (away > street.back_m)
    surface = np.where(over, Surface.WATER, surface)
    if street.cross:
        off = np.abs(mid_x - street.cross_at_m)[:, None]
        aside = away[None] > street.half_road_m
        pavement = (off < street.cross.back_m) & aside
        surface = np.where(pavement, Surface.PAVEMENT, surface)
        surface = np.where((off < street.cross.half_road_m) & aside, Surface.CROSS_STREET, surface)
    return surface


def _lift_m(surface: int) -> float:
    return 0.0 if surface in _ROADS else KERB_HEIGHT_M


def _points(
    street: Street, x_m: np.ndarray, d_m: np.ndarray, lift_m: np.ndarray | float
) -> np.ndarray:
    """World points (..., 3) on the hills, raised by `lift_m`."""
    x_m, d_m = np.broadcast_arrays(x_m, d_m)
    x, y = street.points_m(x_m, d_m)
    return np.stack([x, y, street.hills.height_m(x) + lift_m], -1)


def _kerbs(
    street: Street, x: np.ndarray, d: np.ndarray, surface: np.ndarray, corners: dict
) -> Iterator[tuple[int, Mesh]]:
    """Kerbs: upright faces between road cells and raised cells, except at round corners."""
    raised = ~np.isin(surface, _ROADS)
    for j in range(len(d) - 2):
        edge = raised[:, j + 1] != raised[:, j]
        free = [not _at_corner((a + b) / 2, d[j + 1], corners) for a, b in pairwise(x)]
        for kerb, first, last in _runs((edge & free).tolist()):
            if kerb:
                line = np.column_stack([x[first : last + 1], np.full(last + 1 - first, d[j + 1])])
                yield _upright(street, line)
    for i, j in zip(*np.nonzero(raised[1:] != raised[:-1]), strict=True):
        if not _at_corner(x[i + 1], (d[j] + d[j + 1]) / 2, corners):
            yield _upright(street, np.array([[x[i + 1], d[j]], [x[i + 1], d[j + 1]]]))


def _runs(kinds: list[int]) -> Iterator[tuple[int, int, int]]:
    """Yield (kind, first, end) for each run of equal values."""
    first = 0
    for k in range(1, len(kinds) + 1):
        if k == len(kinds) or kinds[k] != kinds[first]:
            yield kinds[first], first, k
            first = k


def _at_corner(x_m: float, d_m: float, corners: dict) -> bool:
    return any(x0 <= x_m <= x1 and d0 <= d_m <= d1 for x0, x1, d0, d1 in corners)


def _upright(street: Street, line: np.ndarray) -> tuple[int, Mesh]:
    """Vertical kerb face along a line (K, 2) of x and d."""
    low = _points(street, line[:, 0], line[:, 1], 0.0)
    high = _points(street, line[:, 0], line[:, 1], KERB_HEIGHT_M)
    return int(Surface.PAVEMENT), grid(np.stack([low, high], 1))


def _round_corners(street: Street) -> dict[tuple[float, float, float, float], tuple[int, int]]:
    """Find the cells (x0, x1, d0, d1) where the pavements of both streets meet, with directions."""
    if not street.cross:
        return {}
    found = {}
    for sx in (-1, 1):
        for sd in (-1, 1):
            xs = sorted(street.cross_at_m + sx * w for w in _edges(street.cross))
            ds = sorted(sd * w for w in _edges(street))
            found[(xs[0], xs[1], ds[0], ds[1])] = (sx, sd)
    return found


def _edges(street: Street) -> tuple[float, float]:
    return street.half_road_m, street.back_m


def _corner_meshes(street: Street, corners: dict) -> Iterator[tuple[int, Mesh]]:
    """Rounded kerbs where two pavements meet: a quarter of an ellipse cut off."""
    angle = np.linspace(0, np.pi / 2, CORNER_SIDES + 1)
    for (x0, x1, d0, d1), (sx, sd) in corners.items():
        near = np.array([x0 if sx > 0 else x1, d0 if sd > 0 else d1])  # towards the junction
        far = np.array([x1 if sx > 0 else x0, d1 if sd > 0 else d0])
        arc = far - (far - near) * np.stack([np.cos(angle), np.sin(angle)], 1)  # (K, 2)
        yield int(Surface.PAVEMENT), _fan(street, far, arc, KERB_HEIGHT_M)
        yield int(Surface.STREET), _fan(street, near, arc, 0.0)
        yield _upright(street, arc)


def _fan(street: Street, hub: np.ndarray, rim: np.ndarray, lift_m: float) -> Mesh:
    points = np.concatenate([hub[None], rim])
    at = np.arange(1, len(rim))
    faces = np.stack([np.zeros_like(at), at, at + 1], 1)
    return Mesh(_points(street, points[:, 0], points[:, 1], lift_m), faces)
