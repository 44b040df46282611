"""Plant materials: leaves, hedges, bark."""

import numpy as np

from nightrain.datasets.world.shapes.noise import cell_random, fractal
from nightrain.datasets.world.shapes.points import Points
from nightrain.datasets.world.surfaces.look import Look

_FOLIAGE = ((0.9, 0.25), (0.33, 0.30), (0.13, 0.30), (0.05, 0.25))
_BARK = ((0.3, 0.3), (0.1, 0.3), (0.03, 0.3))
_LEAF_M = 0.16


def leaves_look(points: Points) -> Look:
    """Leaves of a crown: light and dark ones, darker towards its centre."""
    x, y, z = points.local_m
    seed = points.seed % 61
    cell = cell_random(
        np.floor(x / _LEAF_M) + 57 * np.floor(z / _LEAF_M), np.floor(y / _LEAF_M), seed
    )
    leaf = np.clip(2 - points.pixel_m / 0.12, 0.25, 1) * (cell - 0.5)
    clumps = fractal(x + 0.7 * z, y + 0.7 * z, points.pixel_m, _FOLIAGE, seed)
    half = np.maximum(points.half_m, 0.05)
    out = np.hypot(np.hypot(x / half[0], y / half[1]), (z - half[2]) / half[2])
    depth = np.clip(0.35 + 0.75 * out, 0.3, 1.1)
    tint = 1 + 0.8 * leaf * np.array([[1.0], [0.6], [0.2]], np.float32)
    tone = np.clip(1 + 0.6 * clumps + 0.5 * leaf, 0.25, 2.2) * depth
    return Look(points.colour * tint * tone, np.full_like(x, 0.012))


def hedge_look(points: Points) -> Look:
    """Foliage trimmed to a block."""
    return Look(_foliage(points, points.world_m), np.zeros_like(points.pixel_m))


def _foliage(points: Points, at: np.ndarray) -> np.ndarray:
    width = points.pixel_m
    face = np.abs(points.normal_local).argmax(axis=0)  # noise is projected face-on
    u, v = np.where(face == 0, at[1], at[0]), np.where(face == 2, at[1], at[2])
    seed = points.seed % 61 + 3 * face
    clumps = fractal(u, v, width, _FOLIAGE, seed)
    leaf = cell_random(np.floor(u / 0.07 + 0.5 * np.floor(v / 0.07)), np.floor(v / 0.07), seed)
    leaf = np.clip(2 - width / 0.035, 0, 1) * (leaf - 0.5)
    clumps += 0.4 * leaf
    yellow = 0.7 * leaf
    tint = 1 + yellow * np.array([[1.0], [0.6], [0.2]], np.float32)
    return points.colour * tint * np.clip(1.0 + 0.85 * clumps, 0.10, 2.6)


def bark_look(points: Points) -> Look:
    """Furrowed bark: noise stretched along the trunk."""
    x, y, z = points.local_m
    around = np.arctan2(y, x) * points.half_m[0] * 2.5
    furrows = fractal(around * 2.0, z * 0.5, points.pixel_m, _BARK, points.seed % 61)
    return Look(points.colour * np.maximum(1 + furrows, 0.2), np.zeros_like(x))
