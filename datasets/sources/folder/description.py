"""Description of a folder of pictures: the YAML file that `nightrain ingest folder` reads."""

import hashlib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest, UnreadableFile
from nightrain.datasets.io.documents import mapping, parse_yaml
from nightrain.datasets.io.regular import read_regular
from nightrain.datasets.validation import Settings, problems

MAX_DESCRIPTION_BYTES = 1_000_000
TAKEN = ("nuscenes", "robotcar", "kitti", "world")  # names that other sources give to their frames
FrameSplit = Literal["train", "val", "test", "none"]
Row = tuple[float, float, float]
Text = Annotated[str, Field(min_length=1, max_length=200)]


class Intrinsics(Settings):
    """Intrinsics of the pictures: one matrix, a file for each picture, or a field of view."""

    matrix: tuple[Row, Row, Row] | None = Field(
        default=None, description="[[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in pixels"
    )
    size: tuple[int, int] | None = Field(
        default=None,
        description="[width, height] that the matrix is for; pictures of another size are "
        "quarantined, or the matrix is scaled if `scale_to_picture` is set",
    )
    scale_to_picture: bool = Field(
        default=False, description="Scale the matrix from `size` to the size of each picture"
    )
    files: str | None = Field(
        default=None,
        description="Pattern of one file per picture, of the same stem: .txt with fx fy cx cy or "
        "9 numbers, or .json with a matrix, alone or under `intrinsics`",
    )
    horizontal_fov_deg: float | None = Field(
        default=None,
        gt=1,
        lt=170,
        description="Horizontal field of view in degrees, for square pixels and a centred lens",
    )

    @model_validator(mode="after")
    def _one_way(self) -> "Intrinsics":
        ways = ("matrix", "files", "horizontal_fov_deg")
        given = [way for way in ways if getattr(self, way) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise ValueError(f"found {found}; expected exactly one of {', '.join(ways)}")
        if (self.size is not None or self.scale_to_picture) and self.matrix is None:
            raise ValueError("size and scale_to_picture belong to `matrix`")
        if self.scale_to_picture and self.size is None:
            raise ValueError("scale_to_picture needs `size`, the size that the matrix is for")
        return self


class DepthMaps(Settings):
    """Depth maps of the pictures, paired by stem and of the pictures' size."""

    files: str = Field(description="Pattern of the maps, such as depth/**/*.png")
    format: Literal["npy", "png"] = Field(
        description="npy: array (H, W) of metres; png: 16-bit grey; 0 is none in both"
    )
    scale: float | None = Field(
        default=None, gt=0, description="Value per metre (default: 1 of npy, 256 of png)"
    )
    kind: Literal["sparse", "dense"] = Field(
        default="sparse",
        description="sparse: column lidar_depth, completed before use; dense: exact_depth, used "
        "as it is by recipes with `depth: exact`",
    )

    @property
    def values_per_metre(self) -> float:
        """The scale, or that of the format."""
        return self.scale or {"npy": 1.0, "png": 256.0}[self.format]


class ByFolder(Settings):
    """Value of a picture by folder or by list, or `otherwise` where neither names it."""

    folders: dict[str, str] = Field(
        default={}, description="Value by the name of a folder on the picture's path"
    )
    lists: dict[str, str] = Field(
        default={}, description="Text file by value, with a picture's name or path in each line"
    )
    otherwise: str | None = Field(default=None, description="Value of all other pictures")

    @property
    def values(self) -> set[str]:
        """All values that it can give."""
        return {*self.folders.values(), *self.lists, self.otherwise or ""} - {""}


class Description(Settings):
    """Folder of pictures with intrinsics, and optional depth, poses, conditions and splits.

    Patterns have `*`, `?` and `**/` for any number of folders, and are relative to `root`.
    """

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9-]{0,40}$",
        description="Name of the data set, for the column source_dataset and the frames' ids",
    )
    licence: Text = Field(description="Licence of the pictures, such as CC-BY-4.0")
    attribution: str = Field(default="", max_length=500, description="Who is to be named")
    root: str = Field(
        default=".", description="Folder that the patterns are relative to, itself relative to this"
    )
    pictures: str = Field(description="Pattern of the pictures, JPEG or 8-bit PNG")
    camera: Text = Field(default="camera", description="Name of the camera")
    camera_height_m: float | None = Field(
        default=None,
        gt=0,
        lt=10,
        description="Height above the road, which recipes with `without_depth: road-plane` need",
    )
    camera_pitch_deg: float = Field(
        default=0.0, gt=-60, lt=60, description="How far the camera looks down from level"
    )
    intrinsics: Intrinsics
    depth: DepthMaps | None = None
    poses: str | None = Field(
        default=None,
        description="CSV with a header: picture; timestamp_us; x_m, y_m, z_m, qw, qx, qy, qz of "
        "T_world_camera. Times, poses or both",
    )
    scene: Text | None = Field(default=None, description="One scene (default: one per folder)")
    condition: Condition | ByFolder = Field(
        default=Condition.CLEAR, description="Weather and light: one, or by folder or list"
    )
    split: FrameSplit | ByFolder = Field(
        default="none", description="Split: one, or by folder or list"
    )
    words: str = Field(default="", max_length=500, description="What the pictures show, in words")

    @model_validator(mode="after")
    def _checks(self) -> "Description":
        if self.name in TAKEN:
            raise ValueError(f"name: {self.name!r} is that of a built-in source; use another")
        for field, known in (("condition", {*Condition}), ("split", {"train", "val", "test"})):
            rule = getattr(self, field)
            allowed = known | {"none"} if field == "split" else known
            if isinstance(rule, ByFolder) and (wrong := sorted(rule.values - allowed)):
                raise ValueError(f"{field}: found {wrong[0]!r}; expected {', '.join(allowed)}")
        return self

    @property
    def digest(self) -> str:
        """Digest of everything that decides the frames: 12 hex digits."""
        return hashlib.sha256(self.model_dump_json(exclude={"root"}).encode()).hexdigest()[:12]


def read_description(path: Path) -> Description:
    """Read the YAML file; raises InvalidRequest."""
    if path.is_dir():
        raise InvalidRequest(
            f"{path} is a folder; expected a YAML file that describes it, with `name`, `licence`, "
            "`pictures` and `intrinsics`. docs/howto/own_images.md has one to copy."
        )
    try:
        fields = mapping(parse_yaml(read_regular(path, MAX_DESCRIPTION_BYTES)))
        return Description.model_validate(fields)
    except ValidationError as error:
        found = "; ".join(problems(Description, error))
        raise InvalidRequest(f"{path} is not a valid description: {found}.") from error
    except (FileNotFoundError, UnreadableFile, ValueError) as error:
        raise InvalidRequest(f"{path} is not a valid description: {error}.") from error
