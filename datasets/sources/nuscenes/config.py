"""Options of the nuScenes reader, and of the built-in world in the same layout."""

from typing import ClassVar, Literal

from pydantic import Field

from nightrain.datasets.sources.base import ALL, Names, SourceConfig
from nightrain.datasets.splits import Split

WORLD_VERSION = "v1.0-world"
UNFINISHED_WORLD = "_scenes"  # folder of a world whose scenes are not all rendered


class NuScenesConfig(SourceConfig):
    """Options for a version folder in nuScenes' layout."""

    source: ClassVar[str] = "nightrain.datasets.sources.nuscenes.source:NuScenesSource"
    summary: ClassVar[str] = "Read nuScenes, or another data set in its layout."
    split_help: ClassVar[str] = (
        "train by md4all's rules; val, test, none (in no official split) or all, unfiltered"
    )

    version: str = Field(default="v1.0-trainval", description="Folder of the tables")
    cameras: Names = Field(default=ALL, description="Comma-separated channels, or all")
    frames: Literal["keyframes", "sweeps", "all"] = Field(
        default="keyframes",
        description="Keyframes (2 Hz, with LiDAR), the sweeps between them (without LiDAR), or all",
    )
    lidar: Literal["hdl32e", "other"] = Field(
        default="hdl32e",
        description="Sensor of the sweeps: an HDL-32E, checked by its lasers and ranges, or "
        "another one in the same file layout, with bounds on ranges only",
    )

    projection: Literal["nearest", "md4all"] = Field(
        default="nearest",
        description="LiDAR points to pixels: rounded, the nearest point counts; or as md4all's "
        "ground truth, truncated, the last point counts (for `evaluate --truth md4all`)",
    )

    @property
    def default_split(self) -> Split:
        """The train split, which md4all's rules filter."""
        return "train"


class WorldConfig(NuScenesConfig):
    """Options for a world rendered by `nightrain world`."""

    summary: ClassVar[str] = "Read the built-in world."
    split_help: ClassVar[str] = "train by md4all's rules; val, test, none or all, unfiltered"

    version: str = Field(
        default=WORLD_VERSION, description="Folder of the tables", json_schema_extra={"cli": "none"}
    )

    @property
    def default_split(self) -> Split:
        """All frames."""
        return "all"
