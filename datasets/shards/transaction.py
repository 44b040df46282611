"""Shard transaction: makes one shard from lease to commit; every kind of shard uses it.

A shard is committed once its manifest entry exists (see manifest.py). Until then, the rows of an
interrupted shard are only a head start for the next run.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Protocol

import pyarrow as pa
from pydantic import BaseModel

from nightrain.datasets.errors import NightrainError, Reason
from nightrain.datasets.io.atomic import require_free
from nightrain.datasets.shards.leases import Lease
from nightrain.datasets.shards.manifest import (
    FRAMES,
    ROW_BY_ROW,
    Entry,
    Manifest,
    Shard,
    quarantine_table,
)
from nightrain.datasets.shards.parquet import Row, ShardWriter
from nightrain.datasets.shards.partial import PartialShard
from nightrain.datasets.shards.rows import quarantine_row, ref_from_row
from nightrain.datasets.shards.schema import QUARANTINE

LEAST_FREE_BYTES = 64 * 1024 * 1024

OnRows = Callable[[int], None]


def ignore_rows(_: int) -> None:
    """Ignore progress."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row for quarantine instead of the table."""

    row: Row


class ShardInterrupted(Exception):
    """Raised by a producer to end its shard early; the rows finished so far are kept."""


class ShardReport(BaseModel):
    """Outcome of one shard, small enough for a task to return."""

    shard: Shard
    status: Literal["committed", "already", "elsewhere", "stopped", "failed"]
    num_rows: int = 0
    quarantined: dict[str, int] = {}
    num_bytes: int = 0
    seconds: float = 0.0
    message: str = ""

    @property
    def num_done(self) -> int:
        """Rows of the plan that are done: stored or quarantined."""
        return num_done(self.shard.table, self.num_rows, self.quarantined)


def keeps_places(table: str) -> bool:
    """Whether a quarantined row keeps its place in its table, too: labels and control maps do."""
    return table.split("/")[0] in ROW_BY_ROW


def num_done(table: str, num_stored: int, quarantined: Mapping[str, int]) -> int:
    """Number of rows that were attempted, given those stored and those quarantined by reason."""
    return num_stored + (0 if keeps_places(table) else sum(quarantined.values()))


class ShardWork(Protocol):
    """Work on one shard; picklable, so that it can run in another process or on another machine."""

    def __call__(self, shard: Shard, on_rows: OnRows = ignore_rows) -> ShardReport:
        """Make the shard unless it is committed or another process is working on it."""
        ...


def frames_behind(manifest: Manifest, shard: Shard, *, retry: int) -> Entry:
    """Entry of the frames shard that a planned shard is made from; raises NightrainError.

    `retry` is the retry number of the frames shard: the shard's own for a sidecar of the frames, 0
    for a shard with its own retry count.
    """
    wanted = Shard(table=FRAMES, number=shard.number, retry=retry)
    frames = manifest.entry(wanted)
    if frames is None:
        raise NightrainError(
            f"{shard.name} needs {wanted.name}, which is not committed in {manifest.root}. Run "
            "`nightrain ingest` again: it finishes what is missing."
        )
    return frames


def rejected_frame(row: Row, reason: Reason, error: Exception) -> Rejected:
    """Quarantine a frame, given its row, after its processing failed."""
    return Rejected(
        quarantine_row(
            ref_from_row(row),
            row["source_dataset"],
            row["condition"],
            reason,
            error,
            attempts=1,
            created_at=datetime.now(UTC),
        )
    )


Producer = Callable[[dict[str, Row]], Iterable[Row | Rejected]]


def make_shard(
    manifest: Manifest,
    shard: Shard,
    schema: pa.Schema,
    about: dict[str, str],
    produce: Producer,
    on_rows: OnRows = ignore_rows,
) -> ShardReport:
    """Run a producer and commit its rows, exactly once.

    `produce` receives the rows that an interrupted run finished, by key, and yields every row of
    the shard in order. If it raises ShardInterrupted, the finished rows are kept for the next run.
    Raises DiskFull, and whatever the producer raises.
    """
    started = time.perf_counter()
    if entry := manifest.entry(shard):
        return _report(entry, "already")
    lease = manifest.lease(shard)
    if lease is None:
        return ShardReport(shard=shard, status="elsewhere")
    with lease:
        if entry := manifest.entry(shard):  # committed between the check and the lease
            return _report(entry, "already")
        require_free(manifest.root, LEAST_FREE_BYTES)
        partial = PartialShard(manifest.root, shard, schema, about)
        with (
            manifest.writer(shard.table, schema, about) as rows,
            manifest.writer(quarantine_table(shard.table), QUARANTINE, about) as rejected,
        ):
            try:
                items, on_rejected = produce(partial.rows()), on_rows
                if keeps_places(shard.table):
                    on_rejected = ignore_rows  # it counts as a row of its table
                counts = _write(items, rows, rejected, lease, on_rows, on_rejected)
            except ShardInterrupted:
                partial.keep(rows)
                return ShardReport(shard=shard, status="stopped", num_rows=rows.num_rows)
            seconds = time.perf_counter() - started
            entry = manifest.commit(
                shard,
                rows,
                rejected,
                about=about,
                counts=counts,
                seconds=seconds,
            )
        partial.forget()
        return _report(entry, "committed")


def _write(
    items: Iterable[Row | Rejected],
    rows: ShardWriter,
    rejected: ShardWriter,
    lease: Lease,
    on_rows: OnRows,
    on_rejected: OnRows,
) -> dict[str, int]:
    """Write all rows and rejected rows; return the number of rejected rows by reason."""
    counts: Counter[str] = Counter()
    for item in items:
        if isinstance(item, Rejected):
            rejected.add(item.row)
            counts[item.row["reason"]] += 1
            on_rejected(1)
        else:
            rows.add(item)
            on_rows(1)
        lease.renew()
    rows.close()
    rejected.close()
    return dict(sorted(counts.items()))


def _report(entry: Entry, status: Literal["committed", "already"]) -> ShardReport:
    return ShardReport(
        shard=entry.shard,
        status=status,
        num_rows=entry.rows.num_rows,
        quarantined=entry.counts,
        num_bytes=entry.rows.num_bytes,
        seconds=entry.seconds,
    )
