"""LiDAR scattering in rain, snow and fog: echoes lost with range, false ones nearby.

Extinction in rain follows from Marshall and Palmer's drop sizes (1948), with an extinction
cross-section of twice the geometric one: pi N0 / L^3 = 3.65e-4 R^0.63 per metre for R mm/h. In fog,
and in mist between the drops, extinction at 905 nm equals that of visible light (Kim et al. 2001,
below 500 m). A wet road mirrors pulses away.
"""

import numpy as np

from nightrain.datasets.world.scene.weather import RAIN_PER_M, RAIN_POWER, Weather

SNOW_SHARE = 1.3  # extinction at 905 nm over that of visible light, in dry snow
SENSITIVITY = 0.045 / 80.0**2  # received albedo x cosine / m^2 that is detected half of the time
SHARPNESS = 1.6  # slope of the detection probability about SENSITIVITY
WET_LOSS = 0.72  # share of asphalt's echo lost under a full film, which covers its grains
FALSE_PER_BEAM = 0.055  # false echoes per beam at an extinction of 0.01 per m
FALSE_REACH_M = 3.2  # decay length of false echoes
FALSE_NEAREST_M, FALSE_FARTHEST_M = 1.0, 22.0


def extinction_per_m(weather: Weather) -> float:
    """Extinction of 905 nm pulses by drops, flakes and fog."""
    drops = RAIN_PER_M * weather.rain_mm_per_h**RAIN_POWER
    falling = weather.rain_mm_per_h + weather.snow_mm_per_h > 0
    air = weather.extinction_per_m if falling or weather.visibility_m < 1000 else 0.0
    snow = SNOW_SHARE if weather.snow_mm_per_h > 0 else 1.0
    return max(drops, snow * air)


def found_share(
    weather: Weather, albedo: np.ndarray, facing: np.ndarray, range_m: np.ndarray
) -> np.ndarray:
    """Probability (N,) that an echo is detected, relative to clear air."""
    signal = np.maximum(albedo * facing, 1e-4) / range_m**2
    lost = np.exp(-2 * extinction_per_m(weather) * range_m)
    return _found(signal * lost) / _found(signal)


def _found(signal: np.ndarray) -> np.ndarray:
    return 1 / (1 + (SENSITIVITY / signal) ** SHARPNESS)


def false_ranges(
    weather: Weather, rng: np.random.Generator, num: int
) -> tuple[np.ndarray, np.ndarray]:
    """Beams (K,) of `num` with a false echo from drops, flakes or fog, and its ranges (K,), m.

    Probability and range follow the backscattered power, which falls with the square of the range
    (Hahner et al. 2021), so most are within ten metres.
    """
    chance = min(FALSE_PER_BEAM * extinction_per_m(weather) / 0.01, 0.35)
    beam = np.flatnonzero(rng.random(num) < chance)
    range_m = FALSE_NEAREST_M + rng.exponential(FALSE_REACH_M, len(beam))
    near = range_m < FALSE_FARTHEST_M
    return beam[near], range_m[near]
