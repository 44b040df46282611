"""A published data set to committed frames: planned first, then shard by shard.

The plan lists the frames of every shard and is written once, so that shard NNNNN means the same
frames for ever. Shards never mix splits or conditions: whoever may use a shard may use all of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from nightrain.datasets.errors import DamagedInput, InvalidRequest, PlanMismatch
from nightrain.datasets.io.atomic import create_exclusively
from nightrain.datasets.protocols.leakage import describe_scenes
from nightrain.datasets.protocols.published import has_published_splits
from nightrain.datasets.shards.manifest import FRAMES, Entry, Manifest, Shard
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.shards.rows import frame_to_row, quarantine_row
from nightrain.datasets.shards.schema import FRAMES as FRAMES_SCHEMA
from nightrain.datasets.shards.transaction import (
    OnRows,
    Rejected,
    ShardReport,
    StopRequested,
    ignore_rows,
    make_shard,
)
from nightrain.datasets.sources.base import FrameRef, FrameSource
from nightrain.pipelines.runs import stop as stopping

FRAMES_PER_SHARD = 128


class PlannedShard(BaseModel):
    """The frames of one shard, in order."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    number: int
    split: str
    condition: str
    frame_ids: tuple[str, ...]


class IngestPlan(BaseModel):
    """What one `ingest` command asked for; numbered, never changed."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    source: str
    options: dict[str, str]
    shards: tuple[PlannedShard, ...]

    @property
    def frame_ids(self) -> set[str]:
        """All frames of the plan."""
        return {frame_id for shard in self.shards for frame_id in shard.frame_ids}


class BadFrame(BaseModel):
    """A frame that the source lists and that could not be read."""

    frame_id: str
    source_id: str
    scene_id: str
    camera: str
    reason: str
    message: str
    shard: str
    earlier: bool = False  # an earlier run found it; this one did not try again


def plan_ingest(
    root: Path,
    source: FrameSource,
    refs: Sequence[FrameRef],
    options: dict[str, str],
    *,
    again: bool = False,
    frames_per_shard: int = FRAMES_PER_SHARD,
) -> IngestPlan:
    """The plan of this command: the one on disk if it was given before, else a new one.

    `again` plans frames that an earlier plan has and that ended in quarantine. Raises
    InvalidRequest where
    there is nothing to read, PlanMismatch where some of these frames were planned by another
    command or the source has changed since.
    """
    if not refs:
        raise InvalidRequest(
            f"The source lists no frame for {options}. Check the split, the cameras and the "
            "version folder; `--split all` takes every frame."
        )
    asked = {ref.frame_id for ref in refs}
    plans = read_plans(root)
    for plan in plans:
        if plan.source == source.name and plan.frame_ids == asked:
            if not again or not _is_finished(root, plan):
                return plan
        elif not again and (taken := plan.frame_ids & asked):
            raise PlanMismatch(
                f"{len(taken)} of {len(asked)} frames are in {root} already, planned with "
                f"{plan.options}; now the source lists {len(asked)} with {options}. Use another "
                "--out, or the options of the first command to go on with it."
            )
    first = sum(len(plan.shards) for plan in plans)
    shards = tuple(_planned_shards(refs, frames_per_shard, first))
    plan = IngestPlan(source=source.name, options=options, shards=shards)
    if not create_exclusively(root, _plan_path(root, len(plans)), plan.model_dump_json().encode()):
        return plan_ingest(  # somebody was faster
            root, source, refs, options, again=again, frames_per_shard=frames_per_shard
        )
    return plan


def bad_frames(root: Path, source: str) -> dict[str, BadFrame]:
    """Frames of a source that are in quarantine now, by id: their last attempt decides.

    Raises CorruptShard.
    """
    manifest, bad = Manifest(root), {}
    for plan in read_plans(root):
        for planned in plan.shards if plan.source == source else ():
            entry = manifest.entry(Shard(table=FRAMES, number=planned.number))
            if entry is not None:
                for frame_id in planned.frame_ids:
                    bad.pop(frame_id, None)
                bad |= {frame.frame_id: frame for frame in _quarantined(manifest, entry)}
    return bad


def read_plans(root: Path) -> list[IngestPlan]:
    """All plans of a dataset, in their order."""
    paths = sorted((root / "_plan").glob("*.json"))
    return [IngestPlan.model_validate_json(path.read_bytes()) for path in paths]


def _quarantined(manifest: Manifest, entry: Entry) -> Iterator[BadFrame]:
    if entry.quarantine is None:
        return
    columns = [name for name in BadFrame.model_fields if name not in ("shard", "earlier")]
    for row in manifest.reader(entry.quarantine).rows(columns):
        yield BadFrame(**row, shard=entry.shard.name)


def _is_finished(root: Path, plan: IngestPlan) -> bool:
    manifest = Manifest(root)
    return all(manifest.entry(Shard(table=FRAMES, number=s.number)) for s in plan.shards)


def _plan_path(root: Path, number: int) -> Path:
    return root / "_plan" / f"{number:05d}.json"


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
    """Work that reads the frames of one planned shard from a source."""

    root: Path
    source: FrameSource
    refs: dict[str, FrameRef]
    plan: dict[int, PlannedShard]

    def __call__(self, shard: Shard, on_rows: OnRows = ignore_rows) -> ShardReport:
        """Make the shard; a damaged frame goes to quarantine. Raises DiskFull."""
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
                if stopping.current().requested:
                    raise StopRequested
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
    root: Path, source: FrameSource, refs: Sequence[FrameRef], plan: IngestPlan
) -> tuple[list[Shard], IngestShard]:
    """The shards of a plan and the work that makes them."""
    work = IngestShard(
        root=root,
        source=source,
        refs={ref.frame_id: ref for ref in refs},
        plan={shard.number: shard for shard in plan.shards},
    )
    return [Shard(table=FRAMES, number=shard.number) for shard in plan.shards], work
