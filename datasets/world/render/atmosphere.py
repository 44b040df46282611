"""Atmosphere: attenuation with distance, and light scattered by the air."""

import numpy as np

from nightrain.datasets.world.render import sky
from nightrain.datasets.world.scene.weather import Weather
from nightrain.datasets.world.shapes.lamps import Lamps

HALO_WITHIN_M = 70.0


def transmission(weather: Weather, distance_m: np.ndarray) -> np.ndarray:
    """Transmitted share (N,) of light: 5 % at the visibility (Koschmieder 1924)."""
    return np.exp(-weather.extinction_per_m * distance_m).astype(np.float32)


def through_air(radiance: np.ndarray, weather: Weather, distance_m: np.ndarray) -> np.ndarray:
    """Luminance (3, N) of surfaces seen from distances (N,) through the air."""
    clear = transmission(weather, distance_m)
    air = sky.air_light(weather)
    return air + (radiance - air) * clear


def halos(
    lamps: Lamps, weather: Weather, eye_m: np.ndarray, ray: np.ndarray, distance_m: np.ndarray
) -> np.ndarray:
    """Luminance (3, N) of the lamp-lit air along unit rays (3, N).

    Single scattering in closed form for a point source (Sun et al. 2005), with two approximations:
    attenuation and intensity of a lamp are those at the ray's point nearest to it.
    """
    glow = np.zeros(ray.shape, np.float32)
    scatter = np.float32(weather.extinction_per_m / (4 * np.pi))
    for k in np.flatnonzero(np.linalg.norm(lamps.place_m - eye_m, axis=1) < HALO_WITHIN_M):
        to_lamp = (lamps.place_m[k] - eye_m).astype(np.float32)[:, None]
        along = (ray * to_lamp).sum(0)
        nearest = ray * np.clip(along, 0, distance_m) - to_lamp  # (3, N) from the lamp
        gap = np.sqrt((nearest * nearest).sum(0)) + np.float32(0.15)
        height = np.sqrt(np.maximum((to_lamp * to_lamp).sum() - along * along, 0)) + 0.15
        candela = lamps.intensity_towards(np.full(len(gap), k), nearest / gap)
        span = np.arctan((distance_m - along) / height) + np.arctan(along / height)
        lost = np.exp(-weather.extinction_per_m * (np.maximum(along, 0) + gap))
        glow += lamps.colour[k][:, None] * (scatter * candela * span / height * lost)
    return glow
