"""The weather of a scene: light of the sky, what falls, what hangs in the air."""

from dataclasses import dataclass

import numpy as np

from datasets.frame import Condition


@dataclass(frozen=True, kw_only=True)
class Weather:
    """What the sky, the air and the ground are like."""

    condition: Condition
    sun: np.ndarray  # (3,) unit vector towards the sun
    sky_seed: int
    words: str  # how nuScenes' descriptions would name it


def draw_weather(rng: np.random.Generator, condition: Condition) -> Weather:
    """Weather of a condition, drawn from a generator of its own."""
    azimuth = rng.uniform(0, 2 * np.pi)
    height = np.radians(rng.uniform(34, 58))
    sun = [np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height)]
    return Weather(
        condition=condition,
        sun=np.array(sun),
        sky_seed=int(rng.integers(1 << 16)),
        words="Clear weather",
    )
