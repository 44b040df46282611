"""Scalar columns of committed shards, queried with DuckDB without reading images.

The columns are read once, into memory: about 100 bytes a row. DuckDB does not check the digests of
the manifest; `nightrain verify` does.
"""

import glob
from collections.abc import Sequence
from typing import Any

import duckdb
from pydantic import BaseModel

from nightrain.datasets.errors import CorruptShard
from nightrain.datasets.shards.manifest import Entry, Manifest

SCALARS = (
    *("condition", "split", "camera", "severity", "physical", "gen_seconds"),
    *("controlled", "gates", "depth_share", "confident_share", "scene_id", "width", "height"),
    *("previous_id", "next_id", "stereo_id", "lidar_depth", "exact_depth"),
)


class Spread(BaseModel):
    """Number, range, median and mean of known values."""

    count: int
    lowest: float
    median: float
    mean: float
    highest: float


class ScalarColumns:
    """Rows of committed shards of one table; raises CorruptShard for unreadable files."""

    def __init__(self, manifest: Manifest, entries: Sequence[Entry]) -> None:
        self._first = manifest.root / entries[0].rows.path
        names = (str(manifest.root / entry.rows.path) for entry in entries)
        paths = [glob.escape(name) for name in names]  # DuckDB takes them for patterns
        self._connection = duckdb.connect()
        found = self._query("DESCRIBE SELECT * FROM read_parquet($paths)", paths=paths)
        kinds = {name: kind for name, kind, *_ in found.fetchall()}
        self.names = [name for name in SCALARS if name in kinds]
        # A payload column is a struct of bytes and path; only the path is read.
        chosen = [
            f"struct_pack(path := {name}.path) AS {name}" if '"path"' in kinds[name] else name
            for name in self.names
        ]
        self._query(
            f"CREATE TABLE rows AS SELECT {', '.join(chosen)} FROM read_parquet($paths)",
            paths=paths,
        )
        self.num_rows: int = self._query("SELECT count(*) FROM rows").fetchall()[0][0]
        expected = sum(entry.rows.num_rows for entry in entries)
        if self.num_rows != expected:
            raise CorruptShard(
                f"The files of {entries[0].shard.table} hold {self.num_rows} rows; the manifest "
                f"says {expected}. Run `nightrain verify` to find the changed file."
            )

    def counts(self, value: str, split: str | None = None) -> dict[str, int]:
        """Count rows, of one split if given, by the value of an SQL expression, in its order."""
        where = "" if split is None else "WHERE split = $split"
        sql = f"SELECT ({value})::VARCHAR, count(*) FROM rows {where} GROUP BY 1 ORDER BY 1"
        return dict(self._query(sql, **({} if split is None else {"split": split})).fetchall())

    def num_distinct(self, column: str) -> int:
        """Number of distinct values of a column."""
        return self._query(f"SELECT count(DISTINCT {column}) FROM rows").fetchall()[0][0]

    def members(self, column: str) -> list[str]:
        """Names of the members of a struct column, sorted."""
        if column not in self.names:
            return []
        found = self._query(f"SELECT unnest({column}) FROM rows LIMIT 0").description
        return sorted(name for name, *_ in found)

    def cross_counts(self, first: str, second: str) -> dict[str, dict[str, int]]:
        """Count rows by the values of two SQL expressions, in their order."""
        sql = (
            f"SELECT ({first})::VARCHAR, ({second})::VARCHAR, count(*) FROM rows "
            "GROUP BY 1, 2 ORDER BY 1, 2"
        )
        counts: dict[str, dict[str, int]] = {}
        for one, other, count in self._query(sql).fetchall():
            counts.setdefault(one, {})[other] = count
        return counts

    def spread(self, column: str) -> Spread | None:
        """Spread of a numeric column without its nulls; None if the column is missing or null."""
        if column.partition(".")[0] not in self.names:
            return None
        value = f"{column}::DOUBLE"
        sql = (
            f"SELECT count({value}), min({value}), median({value}), favg({value}), max({value}) "
            "FROM rows"
        )
        count, lowest, median, mean, highest = self._query(sql).fetchall()[0]
        if not count:
            return None
        return Spread(count=count, lowest=lowest, median=median, mean=mean, highest=highest)

    def quantiles(self, column: str, shares: Sequence[float]) -> dict[float, float]:
        """Quantiles of a numeric column without its nulls; none if it is missing or null."""
        if column not in self.names:
            return {}
        sql = f"SELECT quantile_cont({column}::DOUBLE, {list(shares)}) FROM rows"
        values = self._query(sql).fetchall()[0][0]
        return {} if values is None else dict(zip(shares, values, strict=True))

    def _query(self, sql: str, **params: Any) -> Any:
        try:
            return self._connection.execute(sql, params or None)
        except duckdb.Error as error:
            raise CorruptShard(
                f"{self._first} or another file of its table cannot be read: {error}. Run "
                "`nightrain verify` to find it."
            ) from error
