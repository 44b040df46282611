"""Worker source: each worker process opens the source and reads the frame listing once.

Sending both with every shard would cost more than reading a shard. The listing is passed through a
JSON file; the source is sent as the call that opens it again, because sources pickle to such a
call.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from nightrain.datasets.frame import FrameRef
from nightrain.datasets.io.atomic import no_space_is_disk_full, temporary_path
from nightrain.datasets.io.record import read_record, record_bytes
from nightrain.datasets.shards.frame_plan import PlannedShard
from nightrain.datasets.shards.manifest import FRAMES, Manifest, Shard
from nightrain.datasets.shards.transaction import OnRows, ShardReport, ignore_rows
from nightrain.datasets.sources.base import FrameSource
from nightrain.pipelines.ingest.ingest_shard import IngestShard

Opening = tuple[Callable[..., FrameSource], tuple[Any, ...]]


class Listing(BaseModel):
    """The frames that an ingestion has not read yet, and the shards they belong to."""

    refs: tuple[FrameRef, ...]
    shards: tuple[PlannedShard, ...]


class SharedIngest:
    """An IngestShard that pickles to a listing file and the call that opens the source."""

    def __init__(self, work: IngestShard) -> None:
        self._work = work
        self._path: Path | None = None

    def __call__(self, shard: Shard, on_rows: OnRows = ignore_rows) -> ShardReport:
        """Make the shard."""
        return self._work(shard, on_rows)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        if self._path is None:  # no file is written if all the work is done in this process
            self._path = _write(self._work)
        return partial, (_make, self._path, self._work.root, _opening(self._work.source))

    def remove_listing(self) -> None:
        """Remove the listing file."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


@contextmanager
def shared_with_workers(work: IngestShard) -> Iterator[SharedIngest]:
    """Yield the work in a form that is cheap to send with every shard; raises DiskFull."""
    shared = SharedIngest(work)
    try:
        yield shared
    finally:
        shared.remove_listing()


def _write(work: IngestShard) -> Path:
    listing = _unread(work)
    with no_space_is_disk_full(work.root):
        path = temporary_path(work.root, ".json")
        body = listing.model_dump(mode="json")
        path.write_bytes(record_bytes("listing", body))
    return path


def _unread(work: IngestShard) -> Listing:
    """The shards that are not committed, and their frames."""
    manifest = Manifest(work.root)
    shards = tuple(
        planned
        for planned in work.plan.values()
        if manifest.entry(Shard(table=FRAMES, number=planned.number)) is None
    )
    frames = (work.refs.get(frame_id) for shard in shards for frame_id in shard.frame_ids)
    return Listing(refs=tuple(ref for ref in frames if ref is not None), shards=shards)


def _opening(source: FrameSource) -> Opening:
    """Call that opens the source again; a source that pickles otherwise is sent whole."""
    reduced = source.__reduce__()
    if isinstance(reduced, tuple) and len(reduced) == 2:
        return reduced[0], reduced[1]
    return _whole, (source,)


def _whole(source: FrameSource) -> FrameSource:
    return source


def _make(
    path: Path, root: Path, opening: Opening, shard: Shard, on_rows: OnRows = ignore_rows
) -> ShardReport:
    work = _opened(path, root, opening)
    if shard.number not in work.plan:  # another process committed it before the listing
        return ShardReport(shard=shard, status="already")
    return work(shard, on_rows)


_latest: dict[Path, IngestShard] = {}  # in this process, by listing file; one at a time


def _opened(path: Path, root: Path, opening: Opening) -> IngestShard:
    if path not in _latest:
        body = read_record(path, "listing", "listing of frames for workers")
        listing = Listing.model_validate(body)
        open_source, arguments = opening
        _latest.clear()
        _latest[path] = IngestShard(
            root=root,
            source=open_source(*arguments),
            refs={ref.frame_id: ref for ref in listing.refs},
            plan={shard.number: shard for shard in listing.shards},
        )
    return _latest[path]
