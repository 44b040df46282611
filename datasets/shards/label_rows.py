"""Label rows: labels/<teacher>/NNNNN contains the depth of frames/NNNNN, row by row."""

from dataclasses import dataclass

import numpy as np

from nightrain.datasets.errors import InvalidRequest, PlanMismatch
from nightrain.datasets.io.images import decode_confidence_png, decode_depth_png
from nightrain.datasets.shards.manifest import FRAMES, LABELS, Entry, Manifest, Shard
from nightrain.datasets.shards.parquet import Row, ShardReader

LABEL_COLUMNS = ("frame_id", "depth", "confidence")  # the columns that training reads


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """Depth and confidence of one frame, predicted by a teacher."""

    frame_id: str
    depth_m: np.ndarray  # (H, W) float32, 0 = none
    confidence: np.ndarray  # (H, W) float32 in [0, 1], 0 where there is no depth


def labels_of(manifest: Manifest, frames: Shard, table: str) -> ShardReader:
    """Return a reader of a frames shard's labels: row i is the label of row i of the frames.

    `table` is a teacher's: "labels/<teacher>-<digest>". Raises InvalidRequest if the teacher has
    not labelled the shard, PlanMismatch if the labels belong to other frames, CorruptShard.
    """
    of_frames = manifest.entry(frames)
    if frames.table != FRAMES or of_frames is None:
        raise InvalidRequest(
            f"{frames.name} is not a committed shard of frames in {manifest.root}."
        )
    of_labels = manifest.entry(frames.model_copy(update={"table": table}))
    if of_labels is None:
        there = ", ".join(manifest.tables(f"{LABELS}/")) or "none"
        raise InvalidRequest(
            f"{manifest.root} has no labels of {frames.name} in {table!r} (tables of labels: "
            f"{there}). Run `nightrain label {manifest.root} --teacher ...` first."
        )
    require_same_frames(of_frames, of_labels)
    return manifest.reader(of_labels.rows)


def require_same_frames(frames: Entry, labels: Entry) -> None:
    """Raise PlanMismatch unless labels or maps were made from exactly this file, row by row."""
    found = (
        labels.rows.keys_sha256,
        labels.about.get("frames_sha256"),
        labels.about.get("frames_file_sha256"),
    )
    expected = (frames.rows.keys_sha256, frames.rows.keys_sha256, frames.rows.sha256)
    for what, is_, should_be in zip(
        ("rows", "frames", "frame images"), found, expected, strict=True
    ):
        if is_ != should_be:
            raise PlanMismatch(
                f"{labels.shard.name} holds {labels.shard.table.split('/')[0]} of different {what} "
                f"from {frames.shard.name} (digest {str(is_)[:12]}, expected {should_be[:12]}). "
                "Delete that table and its folder in _manifest, and run the command that made it "
                "again."
            )


def label_from_row(row: Row) -> Label | None:
    """Decode a row's label; None for a frame that could not be labelled; raises DamagedInput."""
    if row["depth"] is None:
        return None
    return Label(
        frame_id=row["frame_id"],
        depth_m=decode_depth_png(row["depth"]["bytes"]),
        confidence=decode_confidence_png(row["confidence"]["bytes"]),
    )
