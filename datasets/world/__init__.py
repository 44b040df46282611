"""The built-in driving world: streets rendered with exact depth, written as nuScenes is."""

from datasets.world.writer import VERSION, WorldReport, write_world

__all__ = ["VERSION", "WorldReport", "write_world"]
