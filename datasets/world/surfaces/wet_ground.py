"""Water on the ground: a darker street, a mirroring film, puddles."""

from dataclasses import dataclass

import numpy as np

from nightrain.datasets.world.scene.weather import Weather
from nightrain.datasets.world.shapes.noise import fractal, smoothstep
from nightrain.datasets.world.shapes.points import Points

WATER_MIRROR = 0.02  # Fresnel reflectance at normal incidence for n = 1.33
_INSIDE = 0.47  # share of light that the film reflects back to the ground (Lekner and Dorf 1988)
_PUDDLE_OCTAVES = ((9.0, 0.55), (3.1, 0.35), (1.1, 0.2), (0.4, 0.1))
_PUDDLE_ROUGHNESS = 0.10  # GGX's, before squaring
_DRAINED_ROUGHNESS, _FILLED_ROUGHNESS = 0.42, 0.20  # of a film that has drained, or is rained on
_DRAINED_COVER, _FILLED_COVER = 0.5, 0.95
_FILLING_MM_PER_H = 4.0  # rain that keeps the texture of the ground filled with water


@dataclass(frozen=True, slots=True, kw_only=True)
class Water:
    """Water on points (N,): coverage by film and by puddles, each in [0, 1].

    `filled` is 1 where rain keeps the texture of the ground filled, 0 where the film has drained
    from the tips of the stones.
    """

    film: np.ndarray
    puddle: np.ndarray
    filled: float = 0.0

    @property
    def roughness(self) -> np.ndarray:
        """GGX roughness of the surface."""
        film = _DRAINED_ROUGHNESS + (_FILLED_ROUGHNESS - _DRAINED_ROUGHNESS) * self.filled
        return film + (_PUDDLE_ROUGHNESS - film) * self.puddle

    @property
    def cover(self) -> np.ndarray:
        """Share (N,) of the surface that mirrors."""
        film = _DRAINED_COVER + (_FILLED_COVER - _DRAINED_COVER) * self.filled
        return np.maximum(film * self.film, self.puddle)

    def under(self, snow: np.ndarray) -> "Water":
        """Water that remains visible under snow of a given coverage (N,)."""
        left = 1 - snow
        return Water(film=self.film * left, puddle=self.puddle * left, filled=self.filled)


def water_on(points: Points, paved: np.ndarray, tight: np.ndarray, weather: Weather) -> Water:
    """Water on points: film and puddles where it is paved (N,) bool, dampness elsewhere.

    Water runs off surfaces where `tight` (N,) bool; walls receive half of what falls on roofs.
    """
    level = np.clip(points.normal[2], 0, 1)
    film = (weather.wetness * (0.35 + 0.4 * level) * ~tight).astype(np.float32)
    puddle = np.zeros(len(paved), np.float32)
    here = np.flatnonzero(paved)
    x, y, _ = points.world_m[:, here]
    pools = 0.5 + 0.5 * fractal(x, y, points.pixel_m[here], _PUDDLE_OCTAVES, weather.seed % 211)
    edge = 1 - _quantile(weather.puddles)
    flat = level[here] > 0.9
    puddle[here] = smoothstep(edge - 0.03, edge + 0.05, pools) * (weather.puddles > 0) * flat
    film[here] = np.clip(weather.wetness * (0.6 + 0.8 * pools), 0, 1)
    filled = min(weather.rain_mm_per_h / _FILLING_MM_PER_H, 1.0)
    return Water(film=film, puddle=puddle, filled=filled)


def _quantile(share: float) -> float:
    """Threshold exceeded by a given share of the pool noise (mean 0.5, deviation 0.16)."""
    return float(np.clip(0.5 - 0.16 * np.sqrt(2) * _inverse_erf(1 - 2 * share), 0, 1))


def _inverse_erf(x: float) -> float:
    """Inverse error function by Winitzki's approximation (2008)."""
    log = np.log(1 - min(x * x, 0.999999))
    a = 2 / (np.pi * 0.147) + log / 2
    return float(np.sign(x) * np.sqrt(np.sqrt(a * a - log / 0.147) - a))


def darkened(albedo: np.ndarray, water: Water) -> np.ndarray:
    """Albedo (3, N) under water: light trapped between film and ground (Lekner and Dorf 1988)."""
    wet = (1 - WATER_MIRROR) * albedo * (1 - _INSIDE) / (1 - _INSIDE * albedo)
    return albedo + (wet - albedo) * np.maximum(water.film, water.puddle)
