"""Partial shards: the finished rows of an interrupted shard, a head start for the next run.

    DATASET/_partial/<shard>.<sha256>.parquet

The name holds the digest of the file. A file with another digest is never parsed, since a damaged
Parquet footer can yield wrong rows or abort the process; its rows are made again.
"""

import hashlib
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nightrain.datasets.io.atomic import fsync
from nightrain.datasets.io.regular import matching, read_regular, sha256_of
from nightrain.datasets.shards.manifest import Shard
from nightrain.datasets.shards.parquet import Row, ShardWriter
from nightrain.datasets.shards.schema import with_metadata


class PartialShard:
    """Rows that an interrupted run finished; readers ignore them."""

    def __init__(self, root: Path, shard: Shard, schema: pa.Schema, about: dict[str, str]) -> None:
        self.folder = root / "_partial"
        self._stem = shard.name.replace("/", "~")
        self._schema = with_metadata(schema, {"table": shard.table, **about})
        self._num_rows = 0

    def rows(self) -> dict[str, Row]:
        """Return the finished rows by key; none if the file is damaged or has another origin."""
        found = max((self._read(path) for path in self._paths()), key=len, default={})
        self._num_rows = len(found)
        return found

    def keep(self, writer: ShardWriter) -> None:
        """Store the rows that a writer has so far, unless the ones already stored are more."""
        if writer.num_rows <= self._num_rows:
            return
        writer.close()
        kept = self.folder / f"{self._stem}.{sha256_of(writer.path)}.parquet"
        self.folder.mkdir(parents=True, exist_ok=True)
        writer.path.replace(kept)
        fsync(self.folder)
        self._remove_all(but=kept)

    def forget(self) -> None:
        """Remove the rows, because the shard is committed."""
        self._remove_all()

    def _read(self, path: Path) -> dict[str, Row]:
        try:
            data = read_regular(path)
            if hashlib.sha256(data).hexdigest() != path.name.split(".")[-2]:
                return {}
            with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as parquet:
                found = parquet.schema_arrow
                if not found.equals(self._schema) or found.metadata != self._schema.metadata:
                    return {}
                rows = parquet.read(use_threads=False).to_pylist()
        except Exception:  # a head start is not worth an error: these rows are made again
            return {}
        return {next(iter(row.values())): row for row in rows}

    def _paths(self) -> list[Path]:
        named = re.compile(rf"{re.escape(self._stem)}\.[0-9a-f]{{64}}\.parquet")
        return [p for p in matching(self.folder, "*.parquet") if named.fullmatch(p.name)]

    def _remove_all(self, but: Path | None = None) -> None:
        for path in self._paths():
            if path != but:
                path.unlink(missing_ok=True)
