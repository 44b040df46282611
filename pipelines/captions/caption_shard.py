"""Caption shards: captions/<captioner>/NNNNN.parquet, one per shard of frames.

Rows are in the order of frames/NNNNN; frames with an undecodable image are quarantined.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from nightrain.datasets.errors import DamagedInput, InvalidRequest, Reason
from nightrain.datasets.io.images import decode_jpeg
from nightrain.datasets.shards.manifest import Manifest, Shard
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.shards.rows import objects_of
from nightrain.datasets.shards.schema import CAPTIONS, ORIGIN_COLUMNS, SCHEMA_VERSION
from nightrain.datasets.shards.transaction import (
    OnRows,
    Rejected,
    ShardReport,
    frames_behind,
    ignore_rows,
    make_shard,
    rejected_frame,
)
from nightrain.pipelines.captions.captioner import Captioner, captions_table
from nightrain.pipelines.captions.metadata import about_frame
from nightrain.pipelines.runs.batches import in_batches, isolate_failures
from nightrain.pipelines.runs.builds import builds_of
from nightrain.pipelines.runs.selection import frames_entries, shards_behind
from nightrain.pipelines.runs.stop import interrupt_if_stopped

NETWORKS = ("torch", "transformers", "tokenizers")  # libraries of captioning networks
COLUMNS = ("frame_id", *ORIGIN_COLUMNS, "objects", "image", "licence", "attribution")


def plan_captions(manifest: Manifest, captioner: Captioner) -> dict[Shard, int]:
    """Plan one caption shard per committed, non-empty frames shard; raises InvalidRequest."""
    return shards_behind(frames_entries(manifest), captions_table(captioner))


def captions_of(manifest: Manifest, frames: Shard, captioner: Captioner) -> dict[str, str]:
    """Read the captions of a committed frames shard by frame id, without quarantined frames.

    Raises InvalidRequest if the shard has no captions yet.
    """
    table = captions_table(captioner)
    entry = manifest.entry(frames.model_copy(update={"table": table}))
    if entry is None:
        raise InvalidRequest(
            f"{manifest.root} has no captions of {frames.name} by {captioner.name!r} ({table}). "
            f"Run `nightrain caption {manifest.root} --captioner {captioner.name}` first."
        )
    columns = manifest.reader(entry.rows).table(["frame_id", "caption"]).to_pydict()
    return dict(zip(columns["frame_id"], columns["caption"], strict=True))


@dataclass(frozen=True)
class CaptionShard:
    """Captions one shard of frames; picklable work for an executor."""

    root: Path
    captioner: Captioner
    batch_size: int = 32  # frames decoded at a time; captioners have their own batch size

    def __call__(self, shard: Shard, on_rows: OnRows = ignore_rows) -> ShardReport:
        """Caption the shard; raises InvalidRequest without weights, CorruptShard, DiskFull."""
        manifest = Manifest(self.root)
        frames = frames_behind(manifest, shard, retry=shard.retry)
        about = {
            "captioner": self.captioner.name,
            "captioner_version": self.captioner.version,
            "weights": self.captioner.weights,
            "split": frames.about.get("split", "none"),
            "condition": frames.about.get("condition", "clear"),
            "frames_sha256": frames.rows.keys_sha256,
        }

        def produce(kept: dict[str, Row]) -> Iterator[Row | Rejected]:
            rows = manifest.reader(frames.rows).rows(COLUMNS)
            for batch in in_batches(rows, self.batch_size):
                interrupt_if_stopped()
                yield from self._rows_of(batch, kept, about, retried=bool(shard.retry))

        return make_shard(manifest, shard, CAPTIONS, about, produce, on_rows)

    def _rows_of(
        self, batch: Sequence[Row], kept: dict[str, Row], about: dict[str, str], *, retried: bool
    ) -> Iterator[Row | Rejected]:
        """Yield the rows of a batch in order; rows of `kept` are not captioned again."""
        results: dict[str, Row | Rejected] = {
            row["frame_id"]: kept[row["frame_id"]] for row in batch if row["frame_id"] in kept
        }
        images: dict[str, np.ndarray] = {}
        for row in batch:
            if row["frame_id"] not in results:
                try:
                    images[row["frame_id"]] = decode_jpeg(row["image"]["bytes"])
                except DamagedInput as error:
                    results[row["frame_id"]] = rejected_frame(row, error.reason, error)
        wanted = [row for row in batch if row["frame_id"] in images]
        started = time.perf_counter()
        captions = self._captions(wanted, images, retried=retried)
        seconds = (time.perf_counter() - started) / max(1, len(wanted))
        for row, caption in zip(wanted, captions, strict=True):
            results[row["frame_id"]] = (
                rejected_frame(row, Reason.ENGINE_ERROR, caption)
                if isinstance(caption, Exception)
                else _caption_row(row, caption, about, self.captioner.runs_on, seconds)
            )
        for row in batch:
            yield results[row["frame_id"]]

    def _captions(
        self, rows: Sequence[Row], images: dict[str, np.ndarray], *, retried: bool
    ) -> list[str | Exception]:
        """One caption or failure per row; if a batch fails, its frames are captioned alone.

        Raises RunFailure if all frames fail alike, unless they have failed before.
        """

        def run(rows: Sequence[Row]) -> list[str]:
            return self.captioner.caption(
                [images[row["frame_id"]] for row in rows],
                [about_frame(objects_of(row)) for row in rows],
            )

        return isolate_failures(rows, run, origin=None if retried else _frame_id)


def _frame_id(row: Row) -> str:
    return row["frame_id"]


def _caption_row(row: Row, caption: str, about: dict[str, str], device: str, seconds: float) -> Row:
    return {
        **{name: row[name] for name in ("frame_id", *ORIGIN_COLUMNS, "licence", "attribution")},
        "caption": caption,
        **{name: about[name] for name in ("captioner", "captioner_version", "weights")},
        "builds": builds_of(("nightrain", *(NETWORKS if about["weights"] else ()))),
        "device": device,
        "created_at": datetime.now(UTC),
        "gen_seconds": seconds,
        "schema_version": SCHEMA_VERSION,
    }
