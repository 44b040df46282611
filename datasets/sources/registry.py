"""Source registry: config models by name, built in or from installed packages."""

from nightrain.datasets.plugins import PluginGroup
from nightrain.datasets.sources.base import SourceConfig

SOURCES = PluginGroup(
    group="nightrain.sources",
    kind="source",
    base=SourceConfig,
    built_in={
        "nuscenes": "nightrain.datasets.sources.nuscenes.config:NuScenesConfig",
        "world": "nightrain.datasets.sources.nuscenes.config:WorldConfig",
        "robotcar": "nightrain.datasets.sources.robotcar.config:RobotCarConfig",
        "kitti": "nightrain.datasets.sources.kitti.config:KittiConfig",
        "folder": "nightrain.datasets.sources.folder.config:FolderConfig",
    },
)
