"""Lying snow: on everything that faces up, thinner in wheel tracks."""

import numpy as np

from nightrain.datasets.world.scene.weather import Weather
from nightrain.datasets.world.shapes.noise import fractal, smoothstep
from nightrain.datasets.world.shapes.points import Points
from nightrain.datasets.world.street.street import Street

_FRESH = np.array([[0.86], [0.88], [0.92]], np.float32)
_SLUSH = np.array([[0.30], [0.29], [0.28]], np.float32)
_PATCHES = ((5.0, 0.4), (1.6, 0.3), (0.5, 0.25), (0.15, 0.2))
_WHEEL_D_M = 0.75  # distance of wheel tracks from the middle of a lane
_GRAIN = ((0.6, 0.05), (0.15, 0.05), (0.05, 0.05))


def snow_on(
    points: Points, on_street: np.ndarray, street: Street, weather: Weather
) -> tuple[np.ndarray, np.ndarray]:
    """Snow coverage (N,) and albedo (3, N) of points; traffic thins it on `on_street` (N,) bool."""
    x, y, z = points.world_m
    noise = fractal(x + 0.3 * z, y + 0.3 * z, points.pixel_m, _PATCHES, weather.seed % 199)
    amount = weather.snow_cover + 0.25 * noise
    slope = smoothstep(0.35, 0.75, points.normal[2])
    driven = np.zeros(len(on_street), np.float32)
    here = np.flatnonzero(on_street)
    for way in (street, street.cross) if street.cross is not None else (street,):
        driven[here] = np.maximum(driven[here], _tracks(x[here], y[here], way))
    cover = slope * smoothstep(0.30, 0.55, amount - 0.75 * driven)
    grain = 1 + fractal(x, y, points.pixel_m, _GRAIN, 17)
    dirt = np.clip(0.9 * driven + 0.12 * on_street, 0, 1)
    albedo = (_FRESH + (_SLUSH - _FRESH) * dirt) * grain
    return cover.astype(np.float32), albedo.astype(np.float32)


def _tracks(x: np.ndarray, y: np.ndarray, street: Street) -> np.ndarray:
    """Degree in [0, 1] to which traffic has cleared points of the street."""
    _, d = street.coordinates(x.astype(np.float64), y.astype(np.float64))
    beside = np.abs(np.abs(d) % street.lane_m - street.lane_m / 2)  # from the middle of a lane
    wheel = smoothstep(0.50, 0.15, np.abs(beside - _WHEEL_D_M))
    lanes = smoothstep(street.lanes_m + 0.2, street.lanes_m - 0.5, np.abs(d))
    return (np.maximum(wheel, 0.55) * lanes).astype(np.float32)
