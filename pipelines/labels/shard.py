"""Committed frames to a teacher's labels, shard by shard: labels/<teacher>/NNNNN.parquet.

Row by row as frames/NNNNN: a frame that cannot be labelled is in quarantine with its reason and
keeps its place here, in a row without depth.
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
from nightrain.pipelines.labels.labeller import NAMED, Labeller
from nightrain.pipelines.labels.labelling_model import Teacher
from nightrain.pipelines.labels.settings import LabelSettings, labels_table
from nightrain.pipelines.runs.batches import in_batches
from nightrain.pipelines.runs.stop import interrupt_if_stopped

FRAME_COLUMNS = (*NAMED, "description", "image", "width", "height", "intrinsics", "T_world_camera")
NEIGHBOUR_COLUMNS = tuple(
    name.format(side)
    for side in ("previous", "next")
    for name in ("{}_id", "{}_timestamp_us", "{}_image", "{}_intrinsics", "T_{}_camera")
)
TEACHERS_FAULTS = (Reason.BAD_OUTPUT, Reason.ENGINE_ERROR)


@dataclass(frozen=True)
class LabelShard:
    """Work that makes one shard of labels from a dataset's root and a teacher."""

    root: Path
    teacher: Teacher
    settings: LabelSettings

    def __call__(self, shard: Shard, on_rows: OnRows = ignore_rows) -> ShardReport:
        """Make the shard.

        Raises PlanMismatch where the table is another teacher's, InvalidRequest without weights,
        NightrainError where the teacher fails at every frame, CorruptShard, DiskFull.
        """
        manifest = Manifest(self.root)
        frames = frames_behind(manifest, shard, retry=shard.retry)
        labeller = Labeller(self.teacher, self._digest_of(shard), self.settings)

        def produce(kept: dict[str, Row]) -> Iterator[Row | Rejected]:
            photometric = self.settings.confidence == "flip+photometric"
            columns = FRAME_COLUMNS + (NEIGHBOUR_COLUMNS if photometric else ())
            yield from _label_all(
                labeller, manifest.reader(frames.rows).rows(columns), kept, shard.name
            )

        return make_shard(manifest, shard, LABELS, self._about(frames, labeller), produce, on_rows)

    def _digest_of(self, shard: Shard) -> str:
        """The teacher's digest, if the shard is of this teacher's table; raises PlanMismatch."""
        digest, table = self.teacher.digest, labels_table(self.teacher, self.settings)
        if table != shard.table:
            raise PlanMismatch(
                f"{shard.table} was planned for another teacher: {self.teacher.name!r} with digest "
                f"{digest[:12]} and these settings writes {table}. The weights or settings changed "
                "in between; run `nightrain label` again to label with what is there now."
            )
        return digest

    def _about(self, frames: Entry, labeller: Labeller) -> dict[str, str]:
        return {
            "teacher": self.teacher.name,
            "teacher_sha256": labeller.teacher_sha256,
            "settings": self.settings.model_dump_json(),
            "split": frames.about.get("split", "none"),
            "condition": frames.about.get("condition", "clear"),
            "frames_sha256": frames.rows.keys_sha256,
            "frames_file_sha256": frames.rows.sha256,
        }


def _label_all(
    labeller: Labeller, rows: Iterator[Row], kept: dict[str, Row], name: str
) -> Iterator[Row | Rejected]:
    """A row per frame, in order; a frame that failed is rejected and keeps its place.

    Raises ShardInterrupted between batches, NightrainError where the teacher failed at every frame:
    a shard of empty labels would be committed for good.
    """
    failures: list[DamagedInput] = []
    num_labelled = 0
    for batch in in_batches(rows, labeller.settings.batch_size):
        interrupt_if_stopped()
        for row, made in zip(batch, labeller.label(batch, kept), strict=True):
            if isinstance(made, DamagedInput):
                failures += [made] if made.reason in TEACHERS_FAULTS else []
                yield rejected_frame(row, made.reason, made)
                yield labeller.empty_row(row)
            else:
                num_labelled += 1
                yield made
    if failures and not num_labelled:
        raise NightrainError(
            f"the teacher {labeller.teacher.name!r} labelled none of the {len(failures)} frames of "
            f"{name}, so nothing was committed. The first failure: {failures[0]}"
        )
