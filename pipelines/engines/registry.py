"""Engine registry: built-in engines, and engines from the entry-point group nightrain.engines."""

from nightrain.pipelines.engines.base import Engine
from nightrain.pipelines.engines.engine_settings import EngineSettings
from nightrain.pipelines.plugins import SettingsGroup, build_once

ENGINES = SettingsGroup(
    group="nightrain.engines",
    kind="engine",
    base=EngineSettings,
    built_in={
        "weather": "nightrain.pipelines.engines.weather.settings:WeatherSettings",
        "diffusion": "nightrain.pipelines.engines.diffusion.models.settings:DiffusionSettings",
        "pipeline": "nightrain.pipelines.engines.pipeline.settings:PipelineSettings",
        "import": "nightrain.pipelines.engines.imported.settings:ImportSettings",
    },
)


def load_engine(settings: EngineSettings) -> Engine:
    """Return the engine for the settings, built once per process; raises InvalidRequest."""
    return build_once(settings)
