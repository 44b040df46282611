"""The built-in driving world: streets rendered with exact depth, written as nuScenes is."""

from datasets.world.plan import SceneSpec, scene_specs
from datasets.world.presets import PRESETS, Preset
from datasets.world.writer import VERSION, WorldReport, write_world

__all__ = ["PRESETS", "VERSION", "Preset", "SceneSpec", "WorldReport", "scene_specs", "write_world"]
