"""The `weather` engine: published optics of fog, rain, snow and night; no weights."""

from nightrain.pipelines.engines.weather.engine import WeatherEngine

__all__ = ["WeatherEngine"]
