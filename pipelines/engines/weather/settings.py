"""Settings of the weather engine."""

from typing import ClassVar, Literal

from nightrain.datasets.conditions import SIMULATED_CONDITIONS, Condition
from nightrain.pipelines.engines.engine_settings import EngineSettings

VERSION = "5"  # increased when equal requests give other bytes


class WeatherSettings(EngineSettings):
    """Settings of the weather engine, which has no options and needs dense depth."""

    name: Literal["weather"] = "weather"  # pyright: ignore[reportIncompatibleVariableOverride]
    engine_class: ClassVar[str] = "nightrain.pipelines.engines.weather.engine:WeatherEngine"
    conditions: ClassVar[tuple[Condition, ...]] = SIMULATED_CONDITIONS

    def version(self, condition: Condition) -> str:
        """Return the engine's version; there are no weights."""
        return VERSION

    def prepare_process(self) -> None:
        """Set up this process's memory and threads; see `set_up_process`."""
        from nightrain.pipelines.engines.weather.process import set_up_process

        set_up_process()
