"""Weather engine: dispatches a request to the optics of its condition."""

from collections.abc import Sequence
from typing import assert_never

import numpy as np

from nightrain.datasets.conditions import Condition, physical_values
from nightrain.pipelines.engines.base import HostEngine, Request, Variant
from nightrain.pipelines.engines.weather.checks import check_request
from nightrain.pipelines.engines.weather.night import night
from nightrain.pipelines.engines.weather.night_rain import night_rain
from nightrain.pipelines.engines.weather.optics.optical_scene import OpticalScene, read_scene
from nightrain.pipelines.engines.weather.optics.photometry import expose, linear_to_srgb
from nightrain.pipelines.engines.weather.optics.veil import fog
from nightrain.pipelines.engines.weather.process import set_up_process
from nightrain.pipelines.engines.weather.rain import rain
from nightrain.pipelines.engines.weather.settings import WeatherSettings
from nightrain.pipelines.engines.weather.snow import snow


class WeatherEngine(HostEngine):
    """Simulates night, rain, snow and fog on a clear frame from its dense depth, without weights.

    A variant's bytes depend only on its request: each request has its own random generator, with
    the request's seed.
    """

    def __init__(self, settings: WeatherSettings | None = None) -> None:
        set_up_process()

    def generate(self, requests: Sequence[Request]) -> list[Variant]:
        """Return one variant per request, in order; raises ValueError for an invalid request."""
        for request in requests:
            check_request(request, WeatherSettings.conditions)
        return [_variant(request) for request in requests]


def _variant(request: Request) -> Variant:
    rng = np.random.Generator(np.random.SFC64(request.seed))
    physical = physical_values(request.condition, request.severity)
    scene = read_scene(request)
    image = _picture(scene, request, physical, rng)
    return Variant(image=image, visibility=scene.visible, physical=physical)


def _picture(
    scene: OpticalScene, request: Request, physical: dict[str, float], rng: np.random.Generator
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
        case Condition.NIGHT_RAIN:
            return expose(night_rain(scene, physical, severity, rng))
        case Condition.CLEAR | Condition.DUSK:
            raise ValueError(f"the weather engine does not generate {str(request.condition)!r}")
        case _:
            assert_never(request.condition)
