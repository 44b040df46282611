"""Frame shards: plans the frames of each shard, and reads them from a source.

Shards never mix splits or conditions, so a shard is selected or left out as a whole.
"""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import DamagedInput, PlanMismatch, Reason
from nightrain.datasets.frame import FrameRef
from nightrain.datasets.protocols.leakage import describe_scenes
from nightrain.datasets.protocols.published import has_published_splits
from nightrain.datasets.shards.frame_plan import (
    FramePlan,
    PlannedShard,
    bad_frames,
    create_plan,
    frames_read_again,
    next_shard_number,
    read_plans,
    require_planned,
)
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
    gone: Set[str] = frozenset(),
    frames_per_shard: int = FRAMES_PER_SHARD,
) -> FramePlan:
    """Return the shards of these frames; frames that no plan names are planned behind the others.

    Existing plans stay as they are, so a source that has grown adds shards and changes none. With
    `again`, return the shards that read quarantined frames again. `gone` are planned frames that
    the source no longer has; a shard with other unlisted frames is left to the process that lists
    them. Raises PlanMismatch if frames were planned with other options, split or condition;
    CorruptShard if a plan is damaged.
    """
    listed = {ref.frame_id: ref for ref in refs}
    known = listed.keys() | gone
    while True:
        plans = read_plans(root)
        require_planned(root, plans)
        ours = [plan for plan in plans if plan.source == source.name and plan.retry == again]
        if again:
            shards, new = _failed(root, source, listed, ours)
        else:
            shards, new = _unplanned(root, listed, ours, options)
        shards = [shard for shard in shards if _is_readable(root, shard, known)]
        first = next_shard_number(plans)
        added = tuple(_planned_shards(new, frames_per_shard, first))
        plan = FramePlan(source=source.name, options=options, retry=again, shards=added)
        if not added or create_plan(root, len(plans), plan):  # else another process was faster
            return plan.model_copy(update={"shards": (*shards, *added)})


def _unplanned(
    root: Path, listed: dict[str, FrameRef], plans: Sequence[FramePlan], options: dict[str, str]
) -> tuple[list[PlannedShard], list[FrameRef]]:
    """Shards planned with these options, and the listed frames that no plan names."""
    for plan in plans:
        if plan.options in (options, None):
            continue
        if taken := plan.frame_ids & listed.keys():
            raise PlanMismatch(
                f"{len(taken)} of the {len(listed)} listed frames are already in {root}, planned "
                f"with other options: {_differences(plan.options, options)}. Repeat the first "
                "options to resume and to add what is new, list only other frames, or use another "
                "--out."
            )
    planned = [shard for plan in plans if plan.options in (options, None) for shard in plan.shards]
    _require_same_kind(root, listed, planned)
    known = {frame_id for shard in planned for frame_id in shard.frame_ids}
    return planned, [ref for frame_id, ref in listed.items() if frame_id not in known]


def _is_readable(root: Path, planned: PlannedShard, frames: Set[str]) -> bool:
    """Whether a shard is committed or has no frames but these."""
    shard = Shard(table=FRAMES, number=planned.number)
    return frames >= {*planned.frame_ids} or Manifest(root).entry(shard) is not None


def _failed(
    root: Path, source: FrameSource, listed: dict[str, FrameRef], retries: Sequence[FramePlan]
) -> tuple[list[PlannedShard], list[FrameRef]]:
    """Unfinished retry shards, and the listed frames in quarantine that none of them reads.

    Quarantine is read after the unfinished shards: a frame of a shard that is committed in between
    counts as unfinished, so no two plans read it.
    """
    unfinished = [shard for plan in retries for shard in plan.unfinished(Manifest(root))]
    pending = {frame_id for shard in unfinished for frame_id in shard.frame_ids}
    failed = bad_frames(root, source.name).keys() - pending
    return unfinished, [ref for frame_id, ref in listed.items() if frame_id in failed]


def _differences(planned: dict[str, str], found: dict[str, str]) -> str:
    """Options that differ: "--split (first train, now all)"."""
    names = [name for name in {**planned, **found} if planned.get(name) != found.get(name)]
    return ", ".join(
        f"--{name.replace('_', '-')} (first {planned.get(name, 'absent')}, "
        f"now {found.get(name, 'absent')})"
        for name in names
    )


def _require_same_kind(
    root: Path, listed: dict[str, FrameRef], shards: Sequence[PlannedShard]
) -> None:
    """Raise PlanMismatch for frames that have moved to another split or condition since."""
    moved = [
        (listed[frame_id], shard)
        for shard in shards
        for frame_id in shard.frame_ids
        if frame_id in listed and _kind(listed[frame_id]) != (shard.split, shard.condition)
    ]
    if moved:
        ref, shard = moved[0]
        raise PlanMismatch(
            f"{len(moved)} frames of {root} have changed in the source: {ref.source_id} of scene "
            f"{ref.scene_id} was planned as {shard.split}/{shard.condition} and is now "
            f"{'/'.join(_kind(ref))}. Restore the source's split lists and descriptions, or use "
            "another --out."
        )


def unlisted_frames(
    root: Path, source: FrameSource, refs: Sequence[FrameRef], options: dict[str, str]
) -> tuple[set[str], set[str]]:
    """Frames planned with these options that are not listed: read ones, and unread ones."""
    manifest, listed = Manifest(root), {ref.frame_id for ref in refs}
    same = [p for p in read_plans(root) if p.source == source.name and p.options == options]
    gone = {frame_id for plan in same for frame_id in plan.frame_ids} - listed
    if not gone:
        return set(), set()
    unread = {f for plan in same for s in plan.unfinished(manifest) for f in s.frame_ids} & gone
    return gone - unread, unread


def _kind(ref: FrameRef) -> tuple[str, str]:
    return ref.split, str(ref.condition)


def _planned_shards(
    refs: Sequence[FrameRef], frames_per_shard: int, first: int
) -> Iterator[PlannedShard]:
    number = first
    for (split, condition), group in groupby(sorted(refs, key=_kind), _kind):
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
        refs = [self.refs[frame_id] for frame_id in planned.frame_ids if frame_id in self.refs]
        about = {
            "source": self.source.name,
            "split": planned.split,
            "condition": planned.condition,
            "licence": self.source.licence,
            **describe_scenes(refs, has_published_splits(self.source)),
        }

        def produce(kept: dict[str, Row]) -> Iterator[Row | Rejected]:
            elsewhere = frames_read_again(self.root, planned)
            for frame_id in (i for i in planned.frame_ids if i not in elsewhere):
                interrupt_if_stopped()
                yield kept.get(frame_id) or self._read(frame_id, planned)

        return make_shard(Manifest(self.root), shard, FRAMES_SCHEMA, about, produce, on_rows)

    def _read(self, frame_id: str, planned: PlannedShard) -> Row | Rejected:
        ref = self.refs.get(frame_id) or _unlisted(frame_id, planned)
        try:
            if frame_id not in self.refs:
                raise DamagedInput(Reason.MISSING_FILE, "the source no longer lists this frame")
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


def _unlisted(frame_id: str, planned: PlannedShard) -> FrameRef:
    """Reference to a planned frame of which nothing else is known any more."""
    return FrameRef(
        frame_id=frame_id,
        source_id="",
        split=planned.split,
        scene_id="",
        camera="",
        condition=Condition(planned.condition),
        timestamp_us=0,
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
