"""Row cache: random access to rows of many shards, through a size-limited cache of row groups."""

import bisect
import itertools
import os
import resource
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from nightrain.datasets.shards.parquet import Row, ShardFile, ShardReader
from nightrain.datasets.shards.schema import IMAGE


class _Group(NamedTuple):
    """A row group as Python values, converted once, because pyarrow is slow for single values."""

    columns: dict[str, list[Any]]
    num_bytes: int


class RowCache:
    """Rows by file and number; keeps the most recently used row groups, up to `max_bytes`.

    Rows are checked as ShardReader checks them. Files are opened on first use, once per process: a
    cache is empty after a fork or unpickling. The "bytes" of an image column are a memoryview of
    the cache, not a copy.
    """

    def __init__(self, root: Path, max_bytes: int) -> None:
        self.root, self.max_bytes = root, max_bytes
        self._begin()

    def __getstate__(self) -> tuple[Path, int]:
        return self.root, self.max_bytes

    def __setstate__(self, state: tuple[Path, int]) -> None:
        self.__init__(*state)

    def row(self, file: ShardFile, index: int, columns: tuple[str, ...]) -> Row:
        """Return some columns of row `index` as Python values; raises CorruptShard."""
        if self._pid != os.getpid():  # a lock in a reader may have been held at the fork
            self._begin()
        reader, starts = self._reader(file)
        number = bisect.bisect_right(starts, index) - 1
        group = self._group(reader, number, columns)
        offset = index - starts[number]
        return {name: values[offset] for name, values in group.columns.items()}

    @property
    def num_bytes(self) -> int:
        """Number of bytes of the cached row groups."""
        return self._num_bytes

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._readers: dict[str, tuple[ShardReader, list[int]]] = {}
        self._groups: OrderedDict[tuple[str, int, tuple[str, ...]], _Group] = OrderedDict()
        self._num_bytes = 0

    def _reader(self, file: ShardFile) -> tuple[ShardReader, list[int]]:
        if file.path not in self._readers:
            if not self._readers:
                _allow_many_open_files()
            starts = [0, *itertools.accumulate(group.num_rows for group in file.row_groups)]
            self._readers[file.path] = ShardReader(self.root, file, cached_groups=0), starts
        return self._readers[file.path]

    def _group(self, reader: ShardReader, number: int, columns: tuple[str, ...]) -> _Group:
        key = (reader.file.path, number, columns)
        if key in self._groups:
            self._groups.move_to_end(key)
            return self._groups[key]
        table = reader.group(number, columns)
        group = _Group({name: _values(table.column(name)) for name in columns}, table.nbytes)
        self._groups[key] = group
        self._num_bytes += group.num_bytes
        while self._num_bytes > self.max_bytes and len(self._groups) > 1:
            _, dropped = self._groups.popitem(last=False)
            self._num_bytes -= dropped.num_bytes
        return group


def _values(column: pa.ChunkedArray) -> list[Any]:
    if not column.type.equals(IMAGE):
        return column.to_pylist()
    data = (scalar.as_buffer() for chunk in column.chunks for scalar in chunk.flatten()[0])
    return [None if buffer is None else {"bytes": memoryview(buffer).cast("B")} for buffer in data]


def _allow_many_open_files() -> None:
    """Raise the limit on open files: readers keep their files open, and the usual limit is 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
