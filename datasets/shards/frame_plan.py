"""Frame plans: the frames of each frames shard, and the frames that could not be read.

    DATASET/_plan/NNNNN.json    frames added by one `ingest` command; numbered, never changed

A plan is written once, so that shard NNNNN contains the same frames in every later run. Frames that
a source lists later are planned behind the existing shards. Plan N is created exclusively by a
process that has read plans 0 to N - 1, so of several processes only one plans a new frame.
"""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from nightrain.datasets.errors import CorruptShard
from nightrain.datasets.io.atomic import create_exclusively, unwritable_is_refused
from nightrain.datasets.io.record import read_record, record_bytes
from nightrain.datasets.io.regular import matching
from nightrain.datasets.shards.manifest import FRAMES, Entry, Manifest, Shard
from nightrain.datasets.validation import in_one_line

RESTORE = (
    "It says which frames each shard holds; run `nightrain repair`, which makes it anew from the "
    "committed frames, or restore it from a copy of the dataset."
)


class PlannedShard(BaseModel):
    """The frames of one shard, in order."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    number: int
    split: str
    condition: str
    frame_ids: tuple[str, ...]


class FramePlan(BaseModel):
    """The shards of one `ingest` command."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    source: str
    options: dict[str, str] | None  # None: not known, since a repair made the plan anew
    retry: bool = False  # whether it reads quarantined frames of other plans again
    shards: tuple[PlannedShard, ...]

    @property
    def frame_ids(self) -> set[str]:
        """Return the ids of all frames of the plan."""
        return {frame_id for shard in self.shards for frame_id in shard.frame_ids}

    def unfinished(self, manifest: Manifest) -> tuple[PlannedShard, ...]:
        """Shards that are not committed yet."""
        entry = manifest.entry
        return tuple(s for s in self.shards if not entry(Shard(table=FRAMES, number=s.number)))


class BadFrame(BaseModel):
    """A frame that the source lists but that could not be read."""

    frame_id: str
    source_id: str
    scene_id: str
    camera: str
    reason: str
    message: str
    shard: str
    earlier: bool = False  # found by an earlier run and not retried in this one


def read_plans(root: Path) -> list[FramePlan]:
    """Read all plans of a dataset, in order; raises CorruptShard, UnreadableFile."""
    num_plans = len(matching(root / "_plan", "*.json"))
    return [read_plan(plan_path(root, number)) for number in range(num_plans)]


def require_planned(root: Path, plans: Sequence[FramePlan]) -> None:
    """Raise CorruptShard if frames shards are committed that no plan names.

    Their frames would be read again, because only a plan says which frames have been read.
    """
    names = [path.stem for path in matching(root / "_manifest" / FRAMES, "*.json")]
    numbers = [int(n) for name in names if (n := name.partition("-")[0]).isdecimal()]
    if (found := max(numbers, default=-1)) >= next_shard_number(plans):
        raise CorruptShard(
            f"{FRAMES}/{found:05d} is committed, but no plan in {root / '_plan'} names it. Run "
            f"`nightrain repair {root}`, or restore that folder from a copy of the dataset."
        )


def plan_path(root: Path, number: int) -> Path:
    """Return the path of a plan."""
    return root / "_plan" / f"{number:05d}.json"


def next_shard_number(plans: Sequence[FramePlan]) -> int:
    """Return the number that follows those of all planned shards."""
    return max((shard.number + 1 for plan in plans for shard in plan.shards), default=0)


def create_plan(root: Path, number: int, plan: FramePlan) -> bool:
    """Write a plan; return False if another process created that number first.

    Raises InvalidRequest if the dataset cannot be written, DiskFull.
    """
    data = record_bytes("plan", plan.model_dump(mode="json"))
    with unwritable_is_refused(root):
        return create_exclusively(root, plan_path(root, number), data)


def read_plan(path: Path) -> FramePlan:
    """Read one plan; raises CorruptShard if it is damaged or missing, UnreadableFile."""
    try:
        return FramePlan.model_validate(read_record(path, "plan", "plan of frames"))
    except ValidationError as error:
        problem = f"{path} is not a valid plan of frames: {in_one_line(error)}"
        raise CorruptShard(f"{problem}. {RESTORE}") from error
    except (FileNotFoundError, CorruptShard) as error:
        raise CorruptShard(f"{error}. {RESTORE}") from error


def frames_read_again(root: Path, planned: PlannedShard) -> set[str]:
    """Return the frames of a planned shard that later retries have committed; mostly none.

    A shard that is made again after a repair leaves them out. Raises CorruptShard.
    """
    manifest, done, frame_ids = Manifest(root), set[str](), {*planned.frame_ids}
    for later in _retried_shards(root, len(matching(root / "_plan", "*.json"))):
        if later.number > planned.number and frame_ids & {*later.frame_ids}:
            entry = manifest.entry(Shard(table=FRAMES, number=later.number))
            if entry is not None:
                done |= {*manifest.reader(entry.rows).table(["frame_id"]).column(0).to_pylist()}
    return done & frame_ids


@functools.cache
def _retried_shards(root: Path, num_plans: int) -> tuple[PlannedShard, ...]:
    """Shards of the retries among the first plans, which never change."""
    plans = [read_plan(plan_path(root, number)) for number in range(num_plans)]
    return tuple(shard for plan in plans if plan.retry for shard in plan.shards)


def bad_frames(root: Path, source: str) -> dict[str, BadFrame]:
    """Return the frames of a source now in quarantine, by id; the last attempt decides.

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


def _quarantined(manifest: Manifest, entry: Entry) -> Iterator[BadFrame]:
    if entry.quarantine is None:
        return
    columns = [name for name in BadFrame.model_fields if name not in ("shard", "earlier")]
    for row in manifest.reader(entry.quarantine).rows(columns):
        yield BadFrame(**row, shard=entry.shard.name)
