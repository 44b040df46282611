"""`WeatherEngine`: requests in, variants out."""

from collections.abc import Sequence

import cv2
import numpy as np

from nightrain.datasets.conditions import SIMULATED_CONDITIONS, Condition, physical_values
from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.engines.weather.checks import check_request
from nightrain.pipelines.engines.weather.memory import keep_freed_pages
from nightrain.pipelines.engines.weather.night import night
from nightrain.pipelines.engines.weather.night_rain import night_rain
from nightrain.pipelines.engines.weather.optics.optical_scene import Scene, read_scene
from nightrain.pipelines.engines.weather.optics.photometry import expose, linear_to_srgb
from nightrain.pipelines.engines.weather.optics.veil import fog
from nightrain.pipelines.engines.weather.rain import rain
from nightrain.pipelines.engines.weather.snow import snow


class WeatherEngine:
    """Physics of night, rain, snow and fog on one clear frame and its dense depth; no weights.

    The bytes of a variant depend on its request alone: one generator per request, seeded by it.
    """

    name: str = "weather"
    version: str = "1"
    conditions: tuple[Condition, ...] = SIMULATED_CONDITIONS

    def __init__(self) -> None:
        keep_freed_pages()
        # One core per shard: pictures this small gain nothing from OpenCV's threads, which would
        # wait for a core that another shard, or Prefect, is using.
        cv2.setNumThreads(1)

    def generate(self, requests: Sequence[Request]) -> list[Variant]:
        """Make one variant per request, in order; raises ValueError for a request it cannot."""
        for request in requests:
            check_request(request, self.conditions)
        return [_variant(request) for request in requests]


def _variant(request: Request) -> Variant:
    rng = np.random.Generator(np.random.SFC64(request.seed))
    physical = physical_values(request.condition, request.severity)
    image = _picture(read_scene(request), request, physical, rng)
    return Variant(image=image, physical=physical)


def _picture(
    scene: Scene, request: Request, physical: dict[str, float], rng: np.random.Generator
) -> np.ndarray:
    severity = float(request.severity)
    match request.condition:
        case Condition.FOG:
            return linear_to_srgb(fog(scene, physical["visibility_m"], rng))
        case Condition.RAIN:
            return linear_to_srgb(rain(scene, physical["rain_mm_per_h"], severity, rng))
        case Condition.SNOW:
            return linear_to_srgb(snow(scene, physical["snow_mm_per_h"], severity, rng))
        case Condition.NIGHT:
            return expose(night(scene, physical, severity, rng))
        case _:
            return expose(night_rain(scene, physical, severity, rng))
