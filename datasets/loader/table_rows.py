"""Rows of several shards as arrays: their places and key columns, and how keys are joined.

Only key columns are read, and checked against the digest of the keys in the manifest; images are
checked when they are read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from nightrain.datasets.errors import CorruptShard
from nightrain.datasets.shards.manifest import Entry
from nightrain.datasets.shards.parquet import ShardFile, ShardReader, keys_digest


@dataclass(frozen=True)
class TableRows:
    """Rows of several shards: the position of each, and its key columns."""

    files: tuple[ShardFile, ...]
    file: np.ndarray  # (N,) int32, index into files
    row: np.ndarray  # (N,) int32, row in that file
    columns: dict[str, np.ndarray]  # each (N,), str or object

    def __len__(self) -> int:
        return len(self.row)

    def take(self, which: np.ndarray) -> "TableRows":
        """Return some of the rows."""
        columns = {name: values[which] for name, values in self.columns.items()}
        return TableRows(self.files, self.file[which], self.row[which], columns)


def read_keys(root: Path, entries: Sequence[Entry], columns: Sequence[str]) -> TableRows:
    """Read key columns of committed shards, the table's own key first; raises CorruptShard."""
    files = tuple(entry.rows for entry in entries)
    tables = [read_columns(root, file, columns) for file in files]
    counts = [file.num_rows for file in files]
    return TableRows(
        files=files,
        file=np.repeat(np.arange(len(files), dtype=np.int32), counts),
        row=np.concatenate([np.arange(n, dtype=np.int32) for n in counts] or [np.zeros(0, int)]),
        columns={name: _values(tables, name) for name in columns},
    )


def read_columns(root: Path, file: ShardFile, columns: Sequence[str]) -> pa.Table:
    """Columns of a file, the table's own key first; raises CorruptShard."""
    table = ShardReader(root, file).scan(columns)
    if keys_digest(table.column(columns[0]).to_pylist()) != file.keys_sha256:
        raise CorruptShard(
            f"{file.path}: the keys of its {table.num_rows} rows differ from the manifest's. "
            "`nightrain verify` lists every such file, `nightrain repair` repairs them."
        )
    return table


def _values(tables: Sequence[pa.Table], name: str) -> np.ndarray:
    values = [value for table in tables for value in table.column(name).to_pylist()]
    is_text = all(pa.types.is_string(table.schema.field(name).type) for table in tables)
    return np.array(values, dtype=np.str_ if is_text else object)


def positions(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Position of each wanted key in `keys` (N,), int64; -1 if it is missing."""
    if not len(keys) or not len(wanted):
        return np.full(len(wanted), -1, np.int64)
    order = np.argsort(keys, kind="stable")
    found = np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)
    places = order[found]
    return np.where(keys[places] == wanted, places, -1)
