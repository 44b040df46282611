"""Frame shards: plans the frames of each shard, and reads them from a source.

Shards never mix splits or conditions, so a shard is selected or left out as a whole.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from nightrain.datasets.errors import DamagedInput, PlanMismatch
from nightrain.datasets.frame import FrameRef
from nightrain.datasets.protocols.leakage import describe_scenes
from nightrain.datasets.protocols.published import has_published_splits
from nightrain.datasets.shards.frame_plan import FramePlan, PlannedShard, create_plan, read_plans
from nightrain.datasets.shards.manifest import FRAMES, Manifest, Shard
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.shards.rows import frame_to_row, quarantine_row
from nightrain.datasets.shards.schema import FRAMES as FRAMES_SCHEMA
from nightrain.datasets.shards.transaction import (
    OnRows,
    Rejected,
    ShardReport,
    ignore_rows,
    make_shard,
)
from nightrain.datasets.sources.base import FrameSource
from nightrain.pipelines.runs.stop import interrupt_if_stopped

FRAMES_PER_SHARD = 128


def plan_ingest(
    root: Path,
    source: FrameSource,
    refs: Sequence[FrameRef],
    options: dict[str, str],
    *,
    again: bool = False,
    frames_per_shard: int = FRAMES_PER_SHARD,
) -> FramePlan:
    """Return the plan of these frames: the existing one on disk, or else a new one.

    `again` plans frames of an earlier plan that are in quarantine. Raises PlanMismatch if some of
    these frames belong to the plan of another command, or the source has changed since.
    """
    listed = {ref.frame_id for ref in refs}
    plans = read_plans(root)
    for plan in plans:
        if plan.source == source.name and plan.frame_ids == listed:
            if not again or not plan.is_finished(Manifest(root)):
                return plan
        elif not again and (taken := plan.frame_ids & listed):
            raise PlanMismatch(
                f"{len(taken)} of {len(listed)} frames are already in {root}, planned with "
                f"{plan.options}; the source now lists {len(listed)} with {options}. Use another "
                "--out, or repeat the options of the first command to resume it."
            )
    first = sum(len(plan.shards) for plan in plans)
    shards = tuple(_planned_shards(refs, frames_per_shard, first))
    plan = FramePlan(source=source.name, options=options, shards=shards)
    if not create_plan(root, len(plans), plan):
        return plan_ingest(  # another process was faster
            root, source, refs, options, again=again, frames_per_shard=frames_per_shard
        )
    return plan


def _planned_shards(
    refs: Sequence[FrameRef], frames_per_shard: int, first: int
) -> Iterator[PlannedShard]:
    def kind(ref: FrameRef) -> tuple[str, str]:
        return ref.split, str(ref.condition)

    number = first
    for (split, condition), group in groupby(sorted(refs, key=kind), kind):
        ids = [ref.frame_id for ref in group]
        for start in range(0, len(ids), frames_per_shard):
            yield PlannedShard(
                number=number,
                split=split,
                condition=condition,
                frame_ids=tuple(ids[start : start + frames_per_shard]),
            )
            number += 1


@dataclass(frozen=True)
class IngestShard:
    """Reads the frames of one planned shard from a source."""

    root: Path
    source: FrameSource
    refs: dict[str, FrameRef]
    plan: dict[int, PlannedShard]

    def __call__(self, shard: Shard, on_rows: OnRows = ignore_rows) -> ShardReport:
        """Make the shard; damaged frames go to quarantine. Raises DiskFull."""
        planned = self.plan[shard.number]
        refs = [self.refs[frame_id] for frame_id in planned.frame_ids]
        about = {
            "source": self.source.name,
            "split": planned.split,
            "condition": planned.condition,
            "licence": self.source.licence,
            **describe_scenes(refs, has_published_splits(self.source)),
        }

        def produce(kept: dict[str, Row]) -> Iterator[Row | Rejected]:
            for ref in refs:
                interrupt_if_stopped()
                yield kept.get(ref.frame_id) or self._read(ref)

        return make_shard(Manifest(self.root), shard, FRAMES_SCHEMA, about, produce, on_rows)

    def _read(self, ref: FrameRef) -> Row | Rejected:
        try:
            frame = self.source.load(ref)
            return frame_to_row(frame, self.source.licence, self.source.attribution)
        except DamagedInput as error:
            return Rejected(
                quarantine_row(
                    ref,
                    self.source.name,
                    str(ref.condition),
                    error.reason,
                    error,
                    attempts=1,
                    created_at=datetime.now(UTC),
                )
            )


def ingest_work(
    root: Path, source: FrameSource, refs: Sequence[FrameRef], plan: FramePlan
) -> tuple[list[Shard], IngestShard]:
    """Return the shards of a plan and the work that makes them."""
    work = IngestShard(
        root=root,
        source=source,
        refs={ref.frame_id: ref for ref in refs},
        plan={shard.number: shard for shard in plan.shards},
    )
    return [Shard(table=FRAMES, number=shard.number) for shard in plan.shards], work
