"""Building materials: walls of brick, plaster or panels, windows, doors, shops, roofs."""

import numpy as np

from nightrain.datasets.world.shapes.noise import band, cell_random, fractal, pulse, smoothstep
from nightrain.datasets.world.shapes.points import Points
from nightrain.datasets.world.street.openings import STOREY_M, bay_at, fill, window_light
from nightrain.datasets.world.surfaces.look import Look

_PLASTER = ((4.0, 0.10), (1.1, 0.08), (0.3, 0.07), (0.08, 0.08), (0.02, 0.09))
_DIRT = ((6.0, 0.5), (1.5, 0.4), (0.4, 0.3))


def facade_look(points: Points) -> Look:
    """Facade in coordinates u along it and v up from the ground; the top is tarred."""
    side = np.abs(points.normal_local[0]) > 0.5  # a gable wall: u runs along local y
    u_axis = side.astype(np.int64)
    u = np.where(side, points.local_m[1], points.local_m[0])
    half_u = np.where(side, points.half_m[1], points.half_m[0])
    v = points.local_m[2] + points.half_m[2]
    wide, high = points.width_m(u_axis), points.width_m(2)
    seed = points.seed + 7 * u_axis
    wall = _wall(points, u, v, wide, high, seed)
    bay = bay_at(points, u, v, half_u, wide, high, seed)
    albedo, glass = fill(wall, points.accent, bay)
    albedo = albedo * _cornice(v, 2 * points.half_m[2], high)
    top = points.normal_local[2] > 0.5
    light = np.where(top, np.float32(0), window_light(bay, glass)).astype(np.float32)
    return Look(np.where(top, np.float32(0.12), albedo), np.where(top, 0, 0.35 * glass), light)


def _wall(
    points: Points,
    u: np.ndarray,
    v: np.ndarray,
    wide: np.ndarray,
    high: np.ndarray,
    seed: np.ndarray,
) -> np.ndarray:
    """Albedo (3, N) of the bare wall; red walls are brick, others plaster or panels by seed."""
    width = np.maximum(wide, high)
    plain = 1 + fractal(u, v, width, _PLASTER, seed % 199)
    brick = (points.colour[0] > 1.9 * points.colour[2]) & (points.colour[0] < 0.5)
    laid = np.flatnonzero(brick)
    plain[laid] *= _bricks(u[laid], v[laid], wide[laid], high[laid])
    panel = np.flatnonzero(~brick & (seed % 3 == 0))
    joint_u = pulse(u[panel] / 2.4, 0, 0.012, wide[panel] / 2.4)
    joint_v = pulse(v[panel] / STOREY_M, 0, 0.01, high[panel] / STOREY_M)
    plain[panel] *= 1 - 0.45 * np.maximum(joint_u, joint_v)
    dirt = np.clip(fractal(u * 2.2, v * 0.5, width, _DIRT, (seed + 5) % 199), 0, 1)
    foot = smoothstep(1.1, 0.0, v)
    return points.colour * plain * (1 - 0.35 * dirt) * (1 - 0.30 * foot)


def _bricks(u: np.ndarray, v: np.ndarray, wide: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Brick courses of 7.5 cm in running bond with pale joints; bricks vary in colour."""
    course = np.floor(v / 0.075)
    shifted = u / 0.23 + 0.5 * (course % 2)
    clay = 0.55 * (cell_random(np.floor(shifted), course, 71) - 0.5)
    clay = clay * np.clip(2 - high / 0.05, 0, 1)
    joint = np.maximum(
        pulse(v / 0.075, 0, 0.16, high / 0.075), pulse(shifted, 0, 0.055, wide / 0.23)
    )
    return (1 + clay) * (1 - joint) + 1.5 * joint


def _cornice(v: np.ndarray, height_m: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Paler band under the eaves and its shadow on the wall."""
    pale = band(v, height_m - 0.45, height_m, high)
    return 1 + 0.25 * pale - 0.30 * band(v, height_m - 0.75, height_m - 0.45, high)


def roof_look(points: Points) -> Look:
    """Roof tiles in courses along the slope."""
    u, v = points.local_m[0], points.local_m[1] * 1.1
    wide, high = points.width_m(0), points.width_m(1)
    course = np.floor(v / 0.3)
    shifted = u / 0.25 + 0.5 * (course % 2)
    tile = 0.4 * (cell_random(np.floor(shifted), course, 81) - 0.5) * np.clip(2 - high / 0.2, 0, 1)
    edge = np.maximum(pulse(v / 0.3, 0, 0.12, high / 0.3), pulse(shifted, 0, 0.1, wide / 0.25))
    moss = fractal(u, v, np.maximum(wide, high), _DIRT, 83)
    return Look(points.colour * (1 + tile + 0.35 * moss) * (1 - 0.45 * edge), np.zeros_like(u))
