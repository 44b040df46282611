"""Export jobs: variants, frames and labels as files that other tools read."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, model_validator

from nightrain.datasets.conditions import Condition
from nightrain.datasets.splits import Split
from nightrain.datasets.validation import Settings

Form = Literal["folders", "webdataset", "kitti", "md4all"]
DepthChoice = Literal["auto", "exact", "lidar", "label", "none"]


class ExportDatasetJob(Settings):
    """Options of `nightrain export dataset`."""

    dataset: Path = Field(
        description="Dataset folder", json_schema_extra={"cli": "argument", "must_exist": True}
    )
    to: Form = Field(
        description="folders: a tree of JPEGs and 16-bit PNGs with a metadata table; webdataset: "
        "tar shards; kitti: the tree of KITTI's depth benchmark; md4all: translated images of "
        "nuScenes or RobotCar"
    )
    out: Path = Field(description="Folder to write; an interrupted export in it is resumed")
    recipe: tuple[str, ...] = Field(
        default=(),
        description="Variants of these recipes alone: names, folders below variants/ or hashes "
        "(default: all that are current)",
    )
    condition: tuple[Condition, ...] = Field(
        default=(), description="Variants of these conditions alone (default: all)"
    )
    split: Split = Field(
        default="train",
        description="Split to export: train, val, test, none (frames in no list) or all, one tree "
        "each",
    )
    labels: str | None = Field(
        default=None,
        description="Also a teacher's depth: a folder below labels/, with or without its hash",
    )
    depth: DepthChoice = Field(
        default="auto",
        description="Depth of each frame: exact or lidar, auto (exact where it is known, else "
        "lidar), label (needs --labels) or none",
    )
    recorded: bool = Field(
        default=False, description="Also frames that were recorded in adverse conditions"
    )
    include_uncontrolled: bool = Field(
        default=False, description="Also variants on which no control acted"
    )
    shard_mb: int = Field(
        default=256, ge=1, le=16_384, description="webdataset: largest size of a tar file, in MB"
    )
    source: Path | None = Field(
        default=None,
        description="md4all: folder of nuScenes or of the world, whose tables have the file names",
        json_schema_extra={"must_exist": True},
    )
    size: tuple[int, int] | None = Field(
        default=None,
        description="md4all: size of the images in pixels (default: md4all's, 576x320 of nuScenes "
        "and 544x320 of RobotCar)",
    )
    sign_with: Path | None = Field(
        default=None,
        description="Sign exported variants with C2PA: PEM file of the signer's certificate and of "
        "those that issued it (needs --key and the extra c2pa)",
        json_schema_extra={"must_exist": True},
    )
    key: Path | None = Field(
        default=None,
        description="Private key of --sign-with, a PEM file; it is read and stored nowhere",
        json_schema_extra={"must_exist": True},
    )

    @model_validator(mode="after")
    def _has_certificate_and_key(self) -> "ExportDatasetJob":
        if (self.sign_with is None) != (self.key is None):
            raise ValueError("--sign-with and --key belong together; give both or none")
        return self


class ExportReport(BaseModel):
    """Outcome of an export."""

    out: str
    num_rows: int = 0  # images of the export, as far as it is done
    num_kept: int = 0  # of these, images that an earlier run had written
    num_frames: int = 0  # clear and recorded frames among all that were selected
    num_variants: int = 0
    num_files: int = 0  # that were written now
    num_bytes: int = 0  # that were written now
    left_out: dict[str, int] = {}  # variants left out on purpose, by reason
    seconds: float = 0.0
    stopped: bool = False

    @property
    def rates(self) -> str:
        """Rows and megabytes per second of what was written now."""
        seconds = max(self.seconds, 1e-3)
        rows = (self.num_rows - self.num_kept) / seconds
        return f"{rows:.0f} images/s, {self.num_bytes / 1e6 / seconds:.0f} MB/s"
