"""Frame plans: the frames of each frames shard, and the frames that could not be read.

    DATASET/_plan/NNNNN.json    one plan per `ingest` command; numbered, never changed

A plan is written once, so that shard NNNNN contains the same frames in every later run.
"""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from nightrain.datasets.errors import CorruptShard
from nightrain.datasets.io.atomic import create_exclusively
from nightrain.datasets.io.record import read_record, record_bytes
from nightrain.datasets.io.regular import matching
from nightrain.datasets.shards.manifest import FRAMES, Entry, Manifest, Shard


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
    options: dict[str, str]
    shards: tuple[PlannedShard, ...]

    @property
    def frame_ids(self) -> set[str]:
        """Return the ids of all frames of the plan."""
        return {frame_id for shard in self.shards for frame_id in shard.frame_ids}

    def is_finished(self, manifest: Manifest) -> bool:
        """Whether all its shards are committed."""
        return all(manifest.entry(Shard(table=FRAMES, number=s.number)) for s in self.shards)


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
    return [_read_plan(path) for path in matching(root / "_plan", "*.json")]


def _read_plan(path: Path) -> FramePlan:
    try:
        return FramePlan.model_validate(read_record(path, "plan", "plan of frames"))
    except ValidationError as error:
        raise CorruptShard(f"{path} is not a valid plan of frames: {error}") from error
    except CorruptShard as error:
        raise CorruptShard(
            f"{error}. It says which frames each shard holds; restore it from a copy of the "
            "dataset, or ingest into another folder."
        ) from error


def create_plan(root: Path, number: int, plan: FramePlan) -> bool:
    """Write a plan; return False if another process created that number first."""
    path = root / "_plan" / f"{number:05d}.json"
    data = record_bytes("plan", plan.model_dump(mode="json"), indent=None)
    return create_exclusively(root, path, data)


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
