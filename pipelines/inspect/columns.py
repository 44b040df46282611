"""Scalar columns of committed shards, queried with DuckDB without reading images.

DuckDB does not check the digests of the manifest; `nightrain verify` does.
"""

from collections.abc import Sequence
from typing import Any

import duckdb
from pydantic import BaseModel

from nightrain.datasets.errors import CorruptShard
from nightrain.datasets.shards.manifest import Entry, Manifest


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
        self._paths = [str(manifest.root / entry.rows.path) for entry in entries]
        self._connection = duckdb.connect()
        description = self._query("SELECT * FROM rows LIMIT 0").description
        self.names = [column[0] for column in description]
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
        return sorted(self._query(f"SELECT unnest({column}) FROM rows LIMIT 0").columns)

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

    def _query(self, sql: str, **params: str) -> Any:
        try:
            return self._connection.sql(
                f"WITH rows AS (FROM read_parquet($paths)) {sql}",
                params={"paths": self._paths, **params},
            )
        except duckdb.Error as error:
            raise CorruptShard(
                f"{self._paths[0]} or another file of its table cannot be read: {error}. Run "
                "`nightrain verify` to find it."
            ) from error
