"""Options of the Oxford RobotCar reader."""

from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field

from nightrain.datasets.sources.base import ALL, Names, SourceConfig
from nightrain.datasets.splits import Split

CameraName = Literal[
    "stereo/left", "stereo/centre", "stereo/right", "mono_left", "mono_right", "mono_rear"
]
Undistorted = Literal["auto", "yes", "no"]
TrainFilter = Literal["md4all", "static", "none"]


class RobotCarConfig(SourceConfig):
    """Options for traverse folders and the SDK's folder with calibration and tags."""

    source: ClassVar[str] = "nightrain.datasets.sources.robotcar.source:RobotCarSource"
    summary: ClassVar[str] = "Read Oxford RobotCar."
    split_help: ClassVar[str] = (
        "train (md4all's filter), val, test, none (in no list) or all (default: train with "
        "--splits, all without)"
    )
    not_recorded: ClassVar[frozenset[str]] = SourceConfig.not_recorded | {"sdk", "cache"}

    root: Path = Field(
        description="Folder that contains the traverses, 2014-12-09-13-21-02/...",
        json_schema_extra={"cli": "argument", "must_exist": True},
    )
    sdk: Path = Field(description="Folder with models/, extrinsics/ and tags/")
    splits: Path | None = Field(
        default=None, description="Folder of md4all's split files (default: list every image)"
    )
    traverses: Names = Field(
        default=ALL,
        description="Comma-separated traverses, or all: those in the folder or with a split file",
    )
    camera: CameraName = Field(default="stereo/left", description="Folder of the camera")
    undistorted: Undistorted = Field(
        default="auto",
        description="Whether images are already undistorted; auto: all but grey PNGs are",
    )
    crop_bonnet: bool = Field(default=True, description="Keep the top 768 of 960 rows")
    lms_window_s: float = Field(
        default=4.0, description="Window of laser scans before and after an image, in s"
    )
    train_filter: TrainFilter = Field(
        default="md4all",
        description="Frames that train leaves out; static: those of a standing car, by odometry",
        json_schema_extra={"cli": "none"},
    )
    cache: Path | None = Field(
        default=None,
        description="Folder that caches measured brightness",
        json_schema_extra={"cli": "none"},
    )

    @property
    def default_split(self) -> Split:
        """With split files md4all's train frames, otherwise every frame."""
        return "train" if self.splits else "all"

    def for_dataset(self, dataset: Path) -> Self:
        """Return the config with measured brightness cached in the dataset's folder."""
        return self.model_copy(update={"cache": dataset / "_brightness"})
