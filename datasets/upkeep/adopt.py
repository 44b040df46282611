"""Adoption of a data file whose manifest entry was lost, if every byte of it can be proven.

The digests of such a file are lost with its entry. Instead, its rows are written again: a file
whose bytes are exactly those that its rows give holds no damage that reading it could hide. It is
parsed in a process of its own, because a damaged footer can abort the process.
"""

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nightrain.datasets.errors import CorruptShard
from nightrain.datasets.io.atomic import temporary_path
from nightrain.datasets.io.regular import read_regular
from nightrain.datasets.shards.frame_plan import read_plans
from nightrain.datasets.shards.manifest import (
    FRAMES,
    Entry,
    Manifest,
    Shard,
    quarantine_table,
)
from nightrain.datasets.shards.parquet import ShardFile, ShardWriter, describe_shard
from nightrain.datasets.shards.schema import SCHEMA_VERSION
from nightrain.datasets.upkeep.migrations import SCHEMAS, kind_of_table


@dataclass(frozen=True, slots=True)
class ProvenFile:
    """A data file whose bytes are those that its rows give."""

    file: ShardFile
    about: dict[str, str]
    keys: list[str]
    frame_ids: list[str]
    reasons: list[str]  # of quarantined rows


class Prover:
    """A process that parses files of unknown digest; another one takes over if it is aborted."""

    def __enter__(self) -> "Prover":
        self._pool = _new_pool()
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def prove(self, root: Path, table: str, name: str) -> ProvenFile:
        """Prove a data file of a table; raises CorruptShard, UnreadableFile."""
        try:
            return self._pool.submit(_prove, root, table, name).result()
        except BrokenProcessPool as error:
            self._pool = _new_pool()
            raise CorruptShard(f"{name} aborts the process that reads it") from error


def _new_pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


def adopt(manifest: Manifest, shard: Shard, names: list[str], prover: Prover) -> Entry:
    """Commit the files of a shard that has no entry; raises CorruptShard, UnreadableFile.

    `names` are the candidates for its rows and for its quarantine. The shard must hold all the
    frames that it was planned with, each in its rows or in its quarantine.
    """
    rejected_table = quarantine_table(shard.table)
    rows = _first(manifest.root, shard.table, names, prover)
    quarantine = _first(manifest.root, rejected_table, names, prover)
    if rows is None:
        raise CorruptShard(f"{shard.name} has no file of rows")
    if quarantine is not None and quarantine.about != rows.about | {"table": rejected_table}:
        raise CorruptShard(f"{quarantine.file.path} was made by another run than {rows.file.path}")
    about = {key: value for key, value in rows.about.items() if key != "table"}
    _require_all_frames(manifest, shard, about, rows, quarantine)
    reasons = [] if quarantine is None else quarantine.reasons
    return manifest.create_entry(
        Entry(
            shard=shard,
            rows=rows.file,
            quarantine=None if quarantine is None else quarantine.file,
            about=about,
            counts={reason: reasons.count(reason) for reason in sorted({*reasons})},
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            schema_version=SCHEMA_VERSION,
        )
    )


def _first(root: Path, table: str, names: list[str], prover: Prover) -> ProvenFile | None:
    """Prove the first intact candidate in a table's folder; raises the last error without one."""
    error: CorruptShard | None = None
    for name in (name for name in names if name.rpartition("/")[0] == table):
        try:
            return prover.prove(root, table, name)
        except CorruptShard as latest:
            error = latest
    if error is not None:
        raise error
    return None


def _require_all_frames(
    manifest: Manifest,
    shard: Shard,
    about: dict[str, str],
    rows: ProvenFile,
    quarantine: ProvenFile | None,
) -> None:
    """Raise CorruptShard unless each planned frame is in one of the files, and no other is."""
    if shard.table == FRAMES:
        planned = [s for plan in read_plans(manifest.root) for s in plan.shards]
        expected = {i for s in planned if s.number == shard.number for i in s.frame_ids}
    else:
        retry = 0 if shard.table.startswith("variants/") else shard.retry
        frames = manifest.entry(Shard(table=FRAMES, number=shard.number, retry=retry))
        if frames is None or frames.rows.keys_sha256 != about.get("frames_sha256"):
            raise CorruptShard(f"{shard.name} was made from other frames than are committed")
        expected = set(manifest.reader(frames.rows).table(["frame_id"]).column(0).to_pylist())
    found = {*rows.frame_ids, *(quarantine.frame_ids if quarantine else ())}
    complete = found <= expected if shard.retry else found == expected
    if not complete or len(set(rows.keys)) != len(rows.keys):
        raise CorruptShard(f"{shard.name} holds {len(found)} of {len(expected)} planned frames")


def _prove(root: Path, table: str, name: str) -> ProvenFile:
    data = read_regular(root / name)
    try:
        with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as parquet:
            found, rows = parquet.schema_arrow, parquet.read(use_threads=False).to_pylist()
        about = json.loads((found.metadata or {})[b"nightrain"])
    except Exception as error:  # whatever a damaged file makes of the parser
        raise CorruptShard(f"{name} cannot be read: {type(error).__name__}: {error}") from None
    schema = SCHEMAS[kind_of_table(table)]
    if not found.equals(schema) or about.get("table") != table:
        raise CorruptShard(f"{name} has columns of another version, or belongs to another table")
    path = temporary_path(root, ".parquet")
    writer = ShardWriter(path, schema, about)
    try:
        for row in rows:
            writer.add(row)
        writer.close()
        if path.read_bytes() != data:
            raise CorruptShard(f"{name} differs from what its rows give, so it was damaged")
        file = describe_shard(path, name)
    finally:
        writer.abandon()
    key = schema.names[0]
    return ProvenFile(
        file=file,
        about=about,
        keys=[row[key] for row in rows],
        frame_ids=[row["frame_id"] for row in rows],
        reasons=[row["reason"] for row in rows if "reason" in row],
    )
