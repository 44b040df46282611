"""Label shards: labels/<teacher>/NNNNN.parquet contains the labels of frames/NNNNN, row by row.

A frame that cannot be labelled is quarantined with the reason, and keeps its place in the table as
a row without depth.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nightrain.datasets.errors import DamagedInput, NightrainError, PlanMismatch, Reason
from nightrain.datasets.shards.manifest import Entry, Manifest, Shard
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.shards.schema import LABELS
from nightrain.datasets.shards.transaction import (
    OnRows,
    Rejected,
    ShardReport,
    frames_behind,
    ignore_rows,
    make_shard,
    rejected_frame,
)
from nightrain.pipelines.labels.labeller import COPIED_COLUMNS, Labeller
from nightrain.pipelines.labels.labelling_model import LabellingModel
from nightrain.pipelines.labels.settings import LabelSettings, labels_table
from nightrain.pipelines.runs.batches import in_batches
from nightrain.pipelines.runs.stop import interrupt_if_stopped

FRAME_COLUMNS = (
    *COPIED_COLUMNS,
    "description",
    "image",
    "width",
    "height",
    "intrinsics",
    "T_world_camera",
)
NEIGHBOUR_COLUMNS = tuple(
    name.format(side)
    for side in ("previous", "next")
    for name in ("{}_id", "{}_timestamp_us", "{}_image", "{}_intrinsics", "T_{}_camera")
)
MODEL_FAULTS = (Reason.BAD_OUTPUT, Reason.ENGINE_ERROR)


@dataclass(frozen=True)
class LabelShard:
    """Labels the frames of one shard with a model."""

    root: Path
    model: LabellingModel
    settings: LabelSettings

    def __call__(self, shard: Shard, on_rows: OnRows = ignore_rows) -> ShardReport:
        """Make the shard.

        Raises PlanMismatch if the table belongs to another model, InvalidRequest without weights,
        NightrainError if the model fails on every frame, CorruptShard, DiskFull.
        """
        manifest = Manifest(self.root)
        frames = frames_behind(manifest, shard, retry=shard.retry)
        labeller = Labeller(self.model, self._digest_for(shard), self.settings)

        def produce(kept: dict[str, Row]) -> Iterator[Row | Rejected]:
            photometric = self.settings.confidence == "flip+photometric"
            columns = FRAME_COLUMNS + (NEIGHBOUR_COLUMNS if photometric else ())
            yield from _label_all(
                labeller, manifest.reader(frames.rows).rows(columns), kept, shard.name
            )

        return make_shard(manifest, shard, LABELS, self._about(frames, labeller), produce, on_rows)

    def _digest_for(self, shard: Shard) -> str:
        """Digest of the model; raises PlanMismatch if the shard is in another model's table."""
        digest, table = self.model.digest, labels_table(self.model, self.settings)
        if table != shard.table:
            raise PlanMismatch(
                f"{shard.table} was planned for another teacher: {self.model.name!r} with digest "
                f"{digest[:12]} and these settings writes {table}. The weights or settings have "
                "changed since; run `nightrain label` again to label with the current ones."
            )
        return digest

    def _about(self, frames: Entry, labeller: Labeller) -> dict[str, str]:
        return {
            "teacher": self.model.name,
            "teacher_sha256": labeller.model_sha256,
            "settings": self.settings.model_dump_json(),
            "split": frames.about.get("split", "none"),
            "condition": frames.about.get("condition", "clear"),
            "frames_sha256": frames.rows.keys_sha256,
            "frames_file_sha256": frames.rows.sha256,
        }


def _label_all(
    labeller: Labeller, rows: Iterator[Row], kept: dict[str, Row], name: str
) -> Iterator[Row | Rejected]:
    """Yield a row per frame, in order; a frame that failed is rejected and keeps its place.

    Raises ShardInterrupted between batches, and NightrainError if the model failed on every frame;
    otherwise a shard of empty labels would be committed permanently.
    """
    failures: list[DamagedInput] = []
    num_labelled = 0
    for batch in in_batches(rows, labeller.settings.batch_size):
        interrupt_if_stopped()
        for row, result in zip(batch, labeller.label(batch, kept), strict=True):
            if isinstance(result, DamagedInput):
                failures += [result] if result.reason in MODEL_FAULTS else []
                yield rejected_frame(row, result.reason, result)
                yield labeller.empty_row(row)
            else:
                num_labelled += 1
                yield result
    if failures and not num_labelled:
        raise NightrainError(
            f"the teacher {labeller.model.name!r} labelled none of the {len(failures)} frames of "
            f"{name}, so nothing was committed. The first failure: {failures[0]}"
        )
