"""nuScenes, and anything else in its layout."""

from datasets.nuscenes.source import NUSCENES_ATTRIBUTION, WORLD_VERSION, NuScenesSource

__all__ = ["NUSCENES_ATTRIBUTION", "WORLD_VERSION", "NuScenesSource"]
