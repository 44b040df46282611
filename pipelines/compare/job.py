"""Comparison jobs: find variants that repeat another one, or whose depth varies too far."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, Field

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.images import decode_jpeg, resize_image
from nightrain.datasets.loader.table_rows import read_keys
from nightrain.datasets.shards.manifest import FRAMES, Entry, Manifest
from nightrain.datasets.shards.parquet import ShardFile, ShardReader
from nightrain.datasets.shards.recipe_records import condition_of, select_tables
from nightrain.datasets.shards.reviews import Review, read_reviews, rejected_ids, write_review
from nightrain.datasets.validation import Settings
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.network.predict import predict
from nightrain.pipelines.compare.depth_spread import DepthSpread, SpreadOfFrames
from nightrain.pipelines.compare.near_duplicates import NearDuplicate, near_duplicates, thumbnail

REVIEWER = "compare-variants"
NUM_WORST = 16


class CompareJob(Settings):
    """Options of `nightrain compare-variants`."""

    dataset: Path = Field(
        description="Dataset folder", json_schema_extra={"cli": "argument", "must_exist": True}
    )
    recipe: str = Field(
        default="weather", description="Recipe of the variants, by name, folder or hash"
    )
    model: Path | None = Field(
        default=None,
        description="Folder of a depth model that knows the weather; measures how far its depth "
        "varies over the variants of one frame",
    )
    most_alike: float = Field(
        default=1.5,
        ge=0,
        le=255,
        description="Difference of thumbnails in levels below which two variants are near-"
        "duplicates",
    )
    most_variation: float | None = Field(
        default=None,
        gt=0,
        description="Variation of depth above which a variant is unstable, such as 0.2 for 20 %; "
        "needs --model",
    )
    reject: bool = Field(
        default=False,
        description="Record the verdict `reject` for what was found, as `nightrain review` does",
    )


class Comparison(BaseModel):
    """What a comparison found; a variant that was reviewed before keeps its verdict."""

    num_frames: int
    num_variants: int
    near_duplicates: list[NearDuplicate]
    spread: DepthSpread | None  # without a model: None
    unstable: dict[str, float]  # variation by sample id
    num_rejected: int  # verdicts that were recorded

    @property
    def reasons(self) -> dict[str, str]:
        """Why variants should be left out, by sample id."""
        found = {
            name: f"depth varies by {v:.0%} over its frame" for name, v in self.unstable.items()
        }
        for pair in self.near_duplicates:
            words = f"{pair.scope}, shows the same as"
            found[pair.second] = f"{words} {pair.first}"
            # Of two frames with one picture, either may have the wrong label.
            if pair.scope == "across frames":
                found[pair.first] = f"{words} {pair.second}"
        return found


class _Row(NamedTuple):
    """A variant and where it lies."""

    sample_id: str
    condition: Condition
    file: ShardFile
    row: int


class _Compared(NamedTuple):
    """A clear frame and its variants, as pictures (H, W, 3) uint8."""

    clear: np.ndarray
    variants: list[tuple[_Row, np.ndarray]]


def compare_variants(
    job: CompareJob,
    on_planned: Callable[[int], None] | None = None,
    on_frames: Callable[[int], None] | None = None,
) -> Comparison:
    """Compare the variants of a recipe with each other; see `nightrain compare-variants --help`.

    `on_planned` receives the number of frames, `on_frames` a count of frames that were read. Raises
    InvalidRequest for an unknown recipe, a limit without a model and a model that cannot be read;
    CorruptShard.
    """
    if job.most_variation is not None and job.model is None:
        raise InvalidRequest("--most-variation needs --model: the depth network that is asked")
    model = DepthModel.from_pretrained(job.model) if job.model else None
    manifest, reviews = Manifest(job.dataset), read_reviews(job.dataset)
    rows = _rows(manifest, select_tables(manifest, job.recipe), rejected_ids(reviews))
    if on_planned is not None:
        on_planned(len(rows))
    ids: list[str] = []
    frame: list[int] = []
    thumbnails: list[np.ndarray] = []
    clear: list[np.ndarray] = []
    spread = SpreadOfFrames()
    for compared in _frames(manifest, rows):
        for row, image in compared.variants:
            ids.append(row.sample_id)
            frame.append(len(clear))
            thumbnails.append(thumbnail(image))
        clear.append(thumbnail(compared.clear))
        if model is not None:
            _add_depth(spread, model, compared)
        if on_frames is not None:
            on_frames(1)
    pairs = near_duplicates(
        ids, np.array(frame), _stacked(thumbnails), _stacked(clear), job.most_alike
    )
    most = job.most_variation
    found = Comparison(
        num_frames=len(clear),
        num_variants=len(ids),
        near_duplicates=list(pairs),
        spread=spread.result(NUM_WORST),
        unstable={n: v for n, v in spread.of_variant.items() if most is not None and v > most},
        num_rejected=0,
    )
    if not job.reject:
        return found
    new = {name: reason for name, reason in found.reasons.items() if name not in reviews}
    for name, reason in new.items():
        _reject(job.dataset, name, reason)
    return found.model_copy(update={"num_rejected": len(new)})


def _rows(manifest: Manifest, tables: list[str], left_out: set[str]) -> dict[str, list[_Row]]:
    """Variants of every frame, by its frame_id."""
    found: dict[str, list[_Row]] = {}
    for table in tables:
        condition = Condition(condition_of(table))
        keys = read_keys(manifest.root, manifest.entries(table), ["sample_id", "frame_id"])
        columns = keys.columns["sample_id"].tolist(), keys.columns["frame_id"].tolist()
        for sample_id, frame_id, file, row in zip(*columns, keys.file, keys.row, strict=True):
            if sample_id not in left_out:
                place = _Row(sample_id, condition, keys.files[file], int(row))
                found.setdefault(frame_id, []).append(place)
    return found


def _frames(manifest: Manifest, rows: dict[str, list[_Row]]) -> Iterator[_Compared]:
    """Yield the frames that have variants, with these, in the order of the manifest."""
    for entry in manifest.entries(FRAMES):
        readers: dict[str, ShardReader] = {}  # of this shard's variants: each keeps row groups
        for clear, variants in _of_shard(manifest, entry, rows):
            for one in variants:
                if one.file.path not in readers:
                    readers[one.file.path] = manifest.reader(one.file)
            images = [readers[one.file.path].row(one.row, ["image"])["image"] for one in variants]
            pictures = [decode_jpeg(image["bytes"]) for image in images]
            yield _Compared(decode_jpeg(clear), list(zip(variants, pictures, strict=True)))


def _of_shard(
    manifest: Manifest, entry: Entry, rows: dict[str, list[_Row]]
) -> Iterator[tuple[bytes, list[_Row]]]:
    for row in manifest.reader(entry.rows).rows(["frame_id", "image"]):
        if variants := rows.get(row["frame_id"]):
            yield row["image"]["bytes"], variants


def _add_depth(spread: SpreadOfFrames, model: DepthModel, compared: _Compared) -> None:
    """Add the network's depth of a frame and its variants, at the network's own size."""
    images = [compared.clear, *(image for _, image in compared.variants)]
    depths = predict(model, [resize_image(image, model.config.input_size) for image in images])
    variants = (row for row, _ in compared.variants)
    spread.add_frame(
        depths[0],
        [(v.sample_id, str(v.condition), d) for v, d in zip(variants, depths[1:], strict=True)],
    )


def _stacked(thumbnails: list[np.ndarray]) -> np.ndarray:
    return np.stack(thumbnails) if thumbnails else np.zeros((0, 1), np.float32)


def _reject(dataset: Path, sample_id: str, reason: str) -> None:
    now = datetime.now(UTC)
    fields = {"sample_id": sample_id, "verdict": "reject", "reason": reason}
    write_review(dataset, Review.model_validate(fields | {"reviewer": REVIEWER, "created_at": now}))
