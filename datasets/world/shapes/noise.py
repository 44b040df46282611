"""Procedural texture: value noise of many octaves and box-filtered patterns.

All functions take the width of a pixel on the surface and fade smaller detail, so that distant
texture neither shimmers nor aliases. Arrays are float32 of one shape (N,).
"""

from collections.abc import Sequence

import numpy as np

_SIZE = 256  # lattice cells before the noise repeats


def _lattice() -> tuple[np.ndarray, np.ndarray]:
    values = np.random.Generator(np.random.PCG64(20110)).random((_SIZE, _SIZE), np.float32)
    right, below = np.roll(values, -1, 1), np.roll(values, -1, 0)
    corners = np.stack([values, right, below, np.roll(right, -1, 0)], -1)
    return values.ravel(), np.ascontiguousarray(corners.reshape(-1, 4))  # (65536,), (65536, 4)


_VALUES, _CORNERS = _lattice()


def cell_random(i: np.ndarray, j: np.ndarray, seed: np.ndarray | int) -> np.ndarray:
    """Deterministic random number in [0, 1) per grid cell (i, j) and seed."""
    i, j = i.astype(np.int64), j.astype(np.int64)
    return _VALUES[(i * 73 + j * 19349 + np.asarray(seed) * 8349) & (_SIZE * _SIZE - 1)]


def value_noise(x: np.ndarray, y: np.ndarray, seed: np.ndarray | int = 0) -> np.ndarray:
    """Value noise in [0, 1] at coordinates (N,) with lattice spacing 1."""
    x0, y0 = np.floor(x), np.floor(y)
    fx, fy = (x - x0).astype(np.float32), (y - y0).astype(np.float32)
    fx *= fx * (3 - 2 * fx)
    fy *= fy * (3 - 2 * fy)
    i = x0.astype(np.int64) + np.asarray(seed) * 57
    j = y0.astype(np.int64) + np.asarray(seed) * 113
    c = _CORNERS[((j & (_SIZE - 1)) << 8) | (i & (_SIZE - 1))]  # (N, 4)
    top = c[:, 0] + (c[:, 1] - c[:, 0]) * fx
    bottom = c[:, 2] + (c[:, 3] - c[:, 2]) * fx
    return top + (bottom - top) * fy


def fractal(
    u_m: np.ndarray,
    v_m: np.ndarray,
    width_m: np.ndarray | float,
    octaves: Sequence[tuple[float, float]],
    seed: np.ndarray | int = 0,
) -> np.ndarray:
    """Sum of (wavelength in metres, amplitude) octaves about 0, each faded below pixel size."""
    total = np.zeros(u_m.shape, np.float32)
    width = np.broadcast_to(np.asarray(width_m, np.float32), u_m.shape)
    for k, (wavelength_m, amplitude) in enumerate(octaves):
        fade = np.clip(2.0 - 3.0 * width / np.float32(wavelength_m), 0, 1) * np.float32(amplitude)
        alive = np.flatnonzero(fade)
        if not len(alive):
            continue
        seed_k = (seed[alive] if isinstance(seed, np.ndarray) else seed) + 31 * k
        noise = value_noise(u_m[alive] / wavelength_m, v_m[alive] / wavelength_m, seed_k)
        total[alive] += fade[alive] * (noise - np.float32(0.5)) * 2
    return total


def pulse(
    x: np.ndarray, start: float | np.ndarray, end: float | np.ndarray, width: np.ndarray
) -> np.ndarray:
    """Share of a pixel `width` wide covered by [start, end) of every unit period of x."""
    w = np.maximum(width, 1e-4)
    return (_pulse_integral(x + w / 2, start, end) - _pulse_integral(x - w / 2, start, end)) / w


def _pulse_integral(
    x: np.ndarray, start: float | np.ndarray, end: float | np.ndarray
) -> np.ndarray:
    whole = np.floor(x)
    return whole * (end - start) + np.clip(x - whole - start, 0, end - start)


def band(
    x: np.ndarray, low: float | np.ndarray, high: float | np.ndarray, width: np.ndarray
) -> np.ndarray:
    """Share of a pixel `width` wide about x covered by [low, high]."""
    w = np.maximum(width, 1e-4)
    return (np.clip(x + w / 2, low, high) - np.clip(x - w / 2, low, high)) / w


def smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """Smooth step: 0 below `low`, 1 above `high`."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
