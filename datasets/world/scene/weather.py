"""Weather of a scene: skylight, precipitation, air and ground cover."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest

CLEAR_AIR_M = 12_000.0  # visibility on an ordinary dry day
RAIN_PER_M, RAIN_POWER = 3.65e-4, 0.63  # extinction by drops of R mm/h (Marshall and Palmer 1948)


class Sky(StrEnum):
    """Kind of sky."""

    SUNNY = "sunny"  # blue, a few clouds
    HAZY = "hazy"  # whitish, a weak sun
    BROKEN = "broken"  # clouds with gaps
    OVERCAST = "overcast"  # no sun, no shadows
    DUSK = "dusk"
    NIGHT = "night"


@dataclass(frozen=True, kw_only=True)
class Weather:
    """State of the sky, the air and the ground; illuminances in lux."""

    condition: Condition
    words: str  # description in nuScenes' style
    sky: Sky
    sun: np.ndarray  # (3,) unit vector towards the sun, below the horizon at night
    sun_lux: float  # on a plane that faces the sun
    sky_lux: float  # of the sky on level ground
    cloud: float = 0.3  # share of the sky that clouds cover
    visibility_m: float = CLEAR_AIR_M  # where 5 % of a contrast remains (Koschmieder 1924)
    rain_mm_per_h: float = 0.0
    snow_mm_per_h: float = 0.0  # as water
    wind_mps: tuple[float, float] = (0.0, 0.0)  # moves drops and flakes along world x and y
    wetness: float = 0.0  # of the ground: 0 is dry, 1 is covered by a film
    puddles: float = 0.0  # share of the street under water
    snow_cover: float = 0.0  # share of level ground under snow
    lens_drops: float = 0.0  # mean number of drops on the lens
    lens_film: float = 0.0  # mean share of the lens under a water film or fine droplets
    street_lit: bool = False  # street lamps and windows are on
    headlights: bool = False  # all moving vehicles have their headlights on
    sky_seed: int = 0
    seed: int = 0  # of drops, flakes and noise

    @property
    def extinction_per_m(self) -> float:
        """Extinction of light in the air: ln 20 over the visibility (Koschmieder 1924)."""
        return float(np.log(20.0)) / self.visibility_m

    @property
    def is_dark(self) -> bool:
        """Whether lamps are brighter than the sky."""
        return self.sky_lux + self.sun_lux < 500.0


def draw_weather(rng: np.random.Generator, condition: Condition) -> Weather:
    """Draw the weather of a condition, from its own generator.

    Raises InvalidRequest for a condition that the world does not render.
    """
    if condition not in _DRAW:
        raise InvalidRequest(
            f"the world does not render the condition {str(condition)!r}; "
            f"supported conditions: {', '.join(_DRAW)}"
        )
    azimuth, height = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(30, 58))
    seeds = {"sky_seed": int(rng.integers(1 << 16)), "seed": int(rng.integers(1 << 31))}
    drawn = _DRAW[condition](rng)
    height = drawn.pop("height_rad", height)
    level = np.cos(height)
    sun = np.array([np.cos(azimuth) * level, np.sin(azimuth) * level, np.sin(height)])
    return Weather(condition=condition, sun=sun, **seeds, **drawn)


def _clear(rng: np.random.Generator) -> dict:
    sky = (Sky.SUNNY, Sky.SUNNY, Sky.HAZY, Sky.BROKEN, Sky.OVERCAST)[int(rng.integers(5))]
    sun, light, cloud = {
        Sky.SUNNY: (rng.uniform(80e3, 95e3), rng.uniform(12e3, 15e3), rng.uniform(0.1, 0.45)),
        Sky.HAZY: (rng.uniform(35e3, 60e3), rng.uniform(18e3, 26e3), rng.uniform(0.0, 0.3)),
        Sky.BROKEN: (rng.uniform(60e3, 85e3), rng.uniform(16e3, 22e3), rng.uniform(0.5, 0.7)),
        Sky.OVERCAST: (0.0, rng.uniform(8e3, 20e3), 1.0),
    }[sky]
    reach = rng.uniform(3000, 6000) if sky is Sky.HAZY else rng.uniform(8000, 20000)
    return {
        "words": "Clear weather",
        "sky": sky,
        "sun_lux": float(sun),
        "sky_lux": float(light),
        "cloud": float(cloud),
        "visibility_m": float(reach),
    }


def _dusk(rng: np.random.Generator) -> dict:
    return {
        "words": "Dusk",
        "sky": Sky.DUSK,
        "height_rad": float(np.radians(rng.uniform(-6, -3))),
        "sun_lux": 0.0,
        "sky_lux": float(np.exp(rng.uniform(np.log(15), np.log(250)))),
        "cloud": float(rng.uniform(0.1, 0.6)),
        "street_lit": True,
        "headlights": True,
    }


def _night(rng: np.random.Generator) -> dict:
    return {
        "words": "Night",
        "sky": Sky.NIGHT,
        "height_rad": -0.6,
        "sun_lux": 0.0,
        "sky_lux": float(rng.uniform(0.06, 0.25)),  # with the street light scattered back
        "street_lit": True,
        "headlights": True,
    }


def _rain(rng: np.random.Generator) -> dict:
    falling = rng.random() < 0.9
    return {
        "words": "Rain" if falling else "After rain",
        "sky": Sky.OVERCAST,
        "sun_lux": 0.0,
        "sky_lux": float(rng.uniform(2.5e3, 9e3)),
        "cloud": 1.0,
        "headlights": True,
        **_falling_rain(rng, falling),
    }


def _falling_rain(rng: np.random.Generator, falling: bool = True) -> dict:
    rate = float(np.exp(rng.uniform(np.log(2), np.log(30)))) if falling else 0.0
    return {
        "rain_mm_per_h": rate,
        "visibility_m": _rainy_visibility_m(rng, rate),
        "wind_mps": _wind(rng, 3.0),
        "wetness": float(rng.uniform(0.75, 1.0)),
        "puddles": float(rng.uniform(0.08, 0.35)),
        "lens_drops": float(rng.uniform(6, 11) + 0.25 * rate) if falling else 5.0,
        "lens_film": float(rng.uniform(0.04, 0.14) + 0.004 * rate) if falling else 0.06,
    }


def _rainy_visibility_m(rng: np.random.Generator, rate: float) -> float:
    """Visibility in rain: drops (Marshall and Palmer 1948), and mist between them.

    Drops extinguish pi N0 / L^3 = 3.65e-4 R^0.63 per metre for R mm/h.
    """
    drops = RAIN_PER_M * rate**RAIN_POWER
    mist = rng.uniform(0.5e-4, 3.0e-4) + rng.uniform(0.0, 0.8) * drops
    return float(np.log(20.0) / (drops + mist))


def _night_rain(rng: np.random.Generator) -> dict:
    night = _night(rng) | {"words": "Night, rain", "cloud": 1.0}
    night["sky_lux"] *= 1.6  # low clouds reflect the city's light
    return night | _falling_rain(rng)


def _snow(rng: np.random.Generator) -> dict:
    rate = float(np.exp(rng.uniform(np.log(0.4), np.log(3.0))))
    return {
        "words": "Snow",
        "sky": Sky.OVERCAST,
        "sun_lux": 0.0,
        "sky_lux": float(rng.uniform(4e3, 12e3)),
        "cloud": 1.0,
        "visibility_m": float(rng.uniform(900, 1600) / rate**0.8),
        "snow_mm_per_h": rate,
        "wind_mps": _wind(rng, 2.0),
        "wetness": float(rng.uniform(0.3, 0.7)),
        "snow_cover": float(rng.uniform(0.45, 1.0)),
        "lens_drops": float(rng.uniform(2, 8)),
        "headlights": True,
    }


def _fog(rng: np.random.Generator) -> dict:
    return {
        "words": "Fog",
        "sky": Sky.OVERCAST,
        "sun_lux": 0.0,
        "sky_lux": float(rng.uniform(4e3, 14e3)),
        "cloud": 1.0,
        "visibility_m": float(np.exp(rng.uniform(np.log(40), np.log(300)))),
        "wetness": float(rng.uniform(0.0, 0.35)),
        "headlights": True,
    }


def _wind(rng: np.random.Generator, spread_mps: float) -> tuple[float, float]:
    x, y = rng.normal(0, spread_mps, 2)
    return float(x), float(y)


_DRAW = {
    Condition.CLEAR: _clear,
    Condition.DUSK: _dusk,
    Condition.NIGHT: _night,
    Condition.RAIN: _rain,
    Condition.NIGHT_RAIN: _night_rain,
    Condition.SNOW: _snow,
    Condition.FOG: _fog,
}
