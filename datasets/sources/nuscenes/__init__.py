"""nuScenes, and anything else in its layout."""

from nightrain.datasets.sources.nuscenes.source import (
    NUSCENES_ATTRIBUTION,
    WORLD_VERSION,
    NuScenesSource,
)

__all__ = ["NUSCENES_ATTRIBUTION", "WORLD_VERSION", "NuScenesSource"]
