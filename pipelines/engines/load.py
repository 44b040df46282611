"""Engines by name; each is imported only where it is asked for and built once per process."""

import functools

from pipelines.engines.base import Engine


@functools.cache
def load_engine(name: str) -> Engine:
    """The engine of a recipe; raises ValueError for a name that is not known."""
    if name == "weather":
        from pipelines.engines.weather import WeatherEngine

        return WeatherEngine()
    raise ValueError(f"there is no engine {name!r}; known: weather")


def engine_version(name: str) -> str:
    """Version of an engine, part of the recipe's hash."""
    return load_engine(name).version
