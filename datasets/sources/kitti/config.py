"""Options of the KITTI reader."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from nightrain.datasets.registry import import_class
from nightrain.datasets.sources.base import FrameSource, SourceConfig, split_at_commas
from nightrain.datasets.splits import Split

CameraName = Literal["image_00", "image_01", "image_02", "image_03"]
Layout = Literal["raw", "depth", "object"]
OBJECT_SOURCE = "nightrain.datasets.sources.kitti.object_source:KittiObjectSource"
GroundTruth = Literal["velodyne", "improved"]


class KittiConfig(SourceConfig):
    """Options for KITTI's raw drives, or the layout of its depth or object benchmark."""

    source: ClassVar[str] = "nightrain.datasets.sources.kitti.source:KittiSource"
    summary: ClassVar[str] = "Read KITTI: raw drives, or its depth or object benchmark."
    split_help: ClassVar[str] = (
        "train, val, test, none (in no list) or all (default: train with --split-files, all "
        "without)"
    )

    root: Path = Field(
        description="Folder that contains 2011_09_26/..., or training/image_2 (layout object)",
        json_schema_extra={"cli": "argument", "must_exist": True},
    )
    split_files: Path | None = Field(default=None, description="Folder of the split files")
    layout: Layout = Field(
        default="raw", description="Raw drives, KITTI's depth benchmark, or its object benchmark"
    )
    cameras: Annotated[tuple[CameraName, ...], BeforeValidator(split_at_commas)] = Field(
        default=("image_02",), min_length=1, description="Comma-separated cameras"
    )
    ground_truth: GroundTruth = Field(
        default="velodyne", description="LiDAR depth: one scan, or KITTI's improved ground truth"
    )
    kb_crop: bool = Field(default=False, description="Crop to 1216x352, bottom centre")
    stereo: bool = Field(default=False, description="Store the other image of the stereo pair")

    def open(self) -> FrameSource:
        """Open the reader of the layout; raises BrokenSource, InvalidRequest."""
        source = OBJECT_SOURCE if self.layout == "object" else self.source
        return import_class(source, "source class")(self)

    @property
    def default_split(self) -> Split:
        """With split files the listed train frames, otherwise every frame."""
        return "train" if self.split_files else "all"
