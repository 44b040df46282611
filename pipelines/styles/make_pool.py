"""Style pool of a dataset: its own real night and rain train images, as image prompts.

    POOL/night/<frame_id>.jpg, POOL/rain/<frame_id>.jpg    images, as the dataset stores them
    POOL/styles.json                                       where each image comes from

SSD draws the image prompt of a variant from the night and day-rain training images. Frames of val
and test scenes are never in a pool.
"""

import hashlib
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import CorruptShard, DamagedInput, InvalidRequest
from nightrain.datasets.io.atomic import no_space_is_disk_full, write_whole
from nightrain.datasets.io.images import decode_jpeg
from nightrain.datasets.io.regular import files_below, read_regular
from nightrain.datasets.shards.manifest import FRAMES, Entry, Manifest
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.validation import Settings, in_one_line
from nightrain.pipelines.inspect.stats import sample

RECORD = "styles.json"
MAX_RECORD_BYTES = 64 * 1024 * 1024
QUANTILES = 9  # of the mean level, evenly spaced, the extremes included
COLUMNS = ("frame_id", "source_dataset", "split", "scene_id", "image", "licence", "attribution")


class PooledImage(BaseModel):
    """An image of a pool, and the frame that it shows."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str  # "night/<frame_id>.jpg"
    sha256: str
    frame_id: str
    source: str
    split: str
    scene_id: str
    mean_level: float  # of its sRGB values, in [0, 1]
    licence: str
    attribution: str


class PoolRecord(BaseModel):
    """Record of a pool: its images, and the distribution of their mean levels by condition."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    images: tuple[PooledImage, ...]
    mean_levels: dict[Condition, tuple[float, ...]]  # quantiles, for `night_brightness`


class StylesJob(Settings):
    """Options of `nightrain styles`."""

    dataset: Path = Field(
        description="Dataset folder with committed night and rain frames",
        json_schema_extra={"cli": "argument", "must_exist": True},
    )
    out: Path | None = Field(
        default=None,
        description="Folder of the pool: that of the recipe's style_pool (default: styles in the "
        "dataset's folder)",
    )
    conditions: tuple[Condition, ...] = Field(
        default=(Condition.NIGHT, Condition.RAIN),
        min_length=1,
        description="Conditions of the images",
        json_schema_extra={"cli": "--condition"},
    )
    num_images: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=500, description="Most images of each condition, evenly spaced over the frames"
    )

    @property
    def folder(self) -> Path:
        """Folder of the pool."""
        return self.dataset / "styles" if self.out is None else self.out


def make_pool(job: StylesJob) -> PoolRecord:
    """Write the pool of a dataset and its record, which is written last.

    Raises InvalidRequest if a condition has no train frame or the folder holds other images,
    CorruptShard, DiskFull.
    """
    out = job.folder
    manifest, rows = Manifest(job.dataset), dict[Condition, list[Row]]()
    for condition in job.conditions:
        rows[condition] = sample(
            manifest, _train_frames(manifest, condition), job.num_images, COLUMNS
        )
    images = {c: [image for row in of if (image := _pooled(c, row))] for c, of in rows.items()}
    record = PoolRecord(
        images=tuple(image for of in images.values() for image in of),
        mean_levels={c: _quantiles([image.mean_level for image in of]) for c, of in images.items()},
    )
    _require_empty_or_same(out, record)
    data = {f"{c}/{row['frame_id']}.jpg": row["image"]["bytes"] for c in rows for row in rows[c]}
    with no_space_is_disk_full(out.parent):
        for image in record.images:
            _write(out / image.name, data[image.name])
        _write(out / RECORD, record.model_dump_json(indent=1).encode())
    return record


def read_pool(folder: Path) -> PoolRecord | None:
    """Record of a pool; None for a folder of images without one. Raises InvalidRequest."""
    path = folder / RECORD
    if not path.exists():
        return None
    try:
        return PoolRecord.model_validate_json(read_regular(path, MAX_RECORD_BYTES))
    except ValidationError as error:
        raise InvalidRequest(
            f"{path} is not a valid record of a style pool: {in_one_line(error)}. Make the pool "
            "again with `nightrain styles`."
        ) from error


def _train_frames(manifest: Manifest, condition: Condition) -> list[Entry]:
    """Frames shards of a condition of train scenes; raises InvalidRequest without any."""
    about = {e.shard: e.about for e in manifest.entries(FRAMES) if e.rows.num_rows}
    of_condition = {s: a for s, a in about.items() if a.get("condition") == condition}
    found = [s for s, a in of_condition.items() if a.get("split") == "train"]
    if not found:
        splits = sorted({a.get("split", "none") for a in of_condition.values()})
        raise InvalidRequest(
            f"{manifest.root} holds no {condition} frames of train scenes (splits of its "
            f"{condition} frames: {', '.join(splits) or 'none'}). Ingest the train split, or leave "
            "the condition out with --condition; val and test images must not be image prompts."
        )
    return manifest.committed(found)


def _pooled(condition: Condition, row: Row) -> PooledImage | None:
    """Entry of a row's image; None for a damaged one."""
    data = row["image"]["bytes"]
    try:
        pixels = decode_jpeg(data)
    except DamagedInput:
        return None
    if row["split"] != "train":
        raise CorruptShard(f"{row['frame_id']} is of {row['split']}, in a shard of train frames")
    return PooledImage(
        name=f"{condition}/{row['frame_id']}.jpg",
        sha256=hashlib.sha256(data).hexdigest(),
        frame_id=row["frame_id"],
        source=row["source_dataset"],
        split=row["split"],
        scene_id=row["scene_id"],
        mean_level=float(pixels.mean(dtype=np.float64)) / 255,
        licence=row["licence"] or "",
        attribution=row["attribution"] or "",
    )


def _quantiles(levels: list[float]) -> tuple[float, ...]:
    found = np.quantile(levels, np.linspace(0, 1, QUANTILES)) if levels else ()
    return tuple(round(float(level), 4) for level in found)


def _require_empty_or_same(folder: Path, record: PoolRecord) -> None:
    """Raise InvalidRequest if a folder holds files of another pool."""
    names = {image.name for image in record.images} | {RECORD}
    there = {str(p.relative_to(folder)) for p in files_below(folder)}
    if other := sorted(there - names):
        raise InvalidRequest(
            f"{folder} holds {other[0]}, which is not part of this pool. Choose another folder "
            "with --out, or remove it."
        )


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, data)
