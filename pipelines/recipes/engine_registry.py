"""Engines by recipe; each is imported only where it is asked for and built once per process."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from nightrain.pipelines.engines.base import Engine

if TYPE_CHECKING:
    from nightrain.pipelines.recipes.recipe import Recipe


def load_engine(recipe: Recipe) -> Engine:
    """The engine of a recipe; raises InvalidRequest for settings that its models cannot serve."""
    settings = recipe.engine_settings
    return _weather() if settings is None else _diffusion(settings.model_dump_json())


@functools.cache
def _weather() -> Engine:
    from nightrain.pipelines.engines.weather import WeatherEngine

    return WeatherEngine()


@functools.cache
def _diffusion(settings_json: str) -> Engine:
    from nightrain.pipelines.engines.diffusion.engine import DiffusionEngine
    from nightrain.pipelines.engines.diffusion.models.settings import DiffusionSettings

    return DiffusionEngine(DiffusionSettings.model_validate_json(settings_json))


def engine_version(recipe: Recipe) -> str:
    """Version of an engine and digest of the weights it runs; part of the recipe's hash.

    Raises InvalidRequest for settings out of reach and for weights that are not here and not
    pinned.
    """
    if recipe.diffusion is None:
        return load_engine(recipe).version
    from nightrain.depthmodel.weights import weights_name
    from nightrain.pipelines.controls.control_depth import depth_source, require_makeable
    from nightrain.pipelines.engines.diffusion.models.families import require
    from nightrain.pipelines.engines.diffusion.models.settings import VERSION
    from nightrain.pipelines.engines.diffusion.styles import StylePool

    settings = recipe.diffusion
    require(settings)
    require_makeable(control.kind for control in settings.controls)
    names = [weights_name(weights) for weights in settings.all_weights()]
    names.append(depth_source(recipe.depth_settings.model_dump_json()).name)
    if settings.style_pool is not None:
        pool = StylePool(Path(settings.style_pool))
        names += [pool.digest(condition) for condition in recipe.conditions]
    return f"{VERSION}-{hashlib.sha256(chr(10).join(names).encode()).hexdigest()[:12]}"
