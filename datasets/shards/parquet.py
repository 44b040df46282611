"""Shard files: Parquet in row groups of a few megabytes, checked before their rows are returned.

Two kinds of check protect a caller from a damaged file. Parquet's page checksums cover the data
pages but not the page headers and the footer. The manifest therefore also records a digest of each
row group, checked when the group is first read, and a digest of the rest of the file.
"""

import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, model_validator

from nightrain.datasets.errors import CorruptShard
from nightrain.datasets.io.atomic import fsync
from nightrain.datasets.io.regular import open_regular
from nightrain.datasets.shards.schema import is_payload, with_metadata

ROW_GROUP_BYTES = 2 * 1024 * 1024  # reading one random row reads one row group
MIN_ROWS_PER_GROUP, MAX_ROWS_PER_GROUP = 16, 100

# A file up to this size is checked completely when it is opened (about 0.1 s); in a larger one,
# each row group is checked when it is first read.
VERIFIED_AT_ONCE_BYTES = 128 * 1024 * 1024

# No part of a name begins with a dot, which rules out parent folders and hidden files.
FILE_NAME = r"^([A-Za-z0-9_][A-Za-z0-9._~-]*/)*[A-Za-z0-9_][A-Za-z0-9._~-]*\.parquet$"

SHA256 = r"^[0-9a-f]{64}$"

Row = dict[str, Any]


class RowGroup(BaseModel):
    """Position of a row group in its file, and the digest of its bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    num_rows: int = Field(ge=0)
    offset: int = Field(ge=0)
    num_bytes: int = Field(ge=0)
    sha256: str = Field(pattern=SHA256)


class ShardFile(BaseModel):
    """Description of a Parquet file in the manifest; enough to detect any change to the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    path: str = Field(pattern=FILE_NAME)  # relative to the dataset's root, and inside it
    num_rows: int = Field(ge=0)
    num_bytes: int = Field(ge=0)
    sha256: str = Field(pattern=SHA256)
    tail_sha256: str = Field(pattern=SHA256)
    keys_sha256: str = Field(pattern=SHA256)  # over the first column, in order
    row_groups: tuple[RowGroup, ...]

    @model_validator(mode="after")
    def _adds_up(self) -> "ShardFile":
        """Require row groups that hold all the rows, one after the other, inside the file."""
        num_rows = end = 0
        for group in self.row_groups:
            if group.offset < end:
                raise ValueError("its row groups overlap")
            end = group.offset + group.num_bytes
            num_rows += group.num_rows
        if num_rows != self.num_rows:
            raise ValueError(f"its row groups hold {num_rows} rows, not {self.num_rows}")
        if end > self.num_bytes:
            raise ValueError(f"its row groups end at byte {end} of {self.num_bytes}")
        return self


class ShardWriter:
    """Writes rows to a Parquet file in row groups; the layout depends only on the rows."""

    def __init__(self, path: Path, schema: pa.Schema, about: dict[str, str]) -> None:
        self.path = path
        self.schema = with_metadata(schema, about)
        self.num_rows = 0
        self._rows: list[Row] = []
        self._payload = [field.name for field in schema if is_payload(field)]
        self._buffered_bytes = 0
        self._sink = pa.OSFile(str(path), "wb")
        self._writer = pq.ParquetWriter(self._sink, self.schema, **_writer_options(schema))

    def add(self, row: Row) -> None:
        """Append one row; raises OSError if the disk is full."""
        self._rows.append(row)
        self.num_rows += 1
        self._buffered_bytes += sum(len(row[k]["bytes"]) for k in self._payload if row.get(k))
        full = self._buffered_bytes >= ROW_GROUP_BYTES and len(self._rows) >= MIN_ROWS_PER_GROUP
        if full or len(self._rows) >= MAX_ROWS_PER_GROUP:
            self._flush()

    def close(self) -> None:
        """Write buffered rows and the footer, and sync the file to the disk."""
        if self._rows:
            self._flush()
        self._writer.close()
        self._sink.close()
        fsync(self.path)

    def abandon(self) -> None:
        """Close and remove the file; errors on closing are ignored."""
        try:
            self._writer.close()
            self._sink.close()
        except (OSError, pa.ArrowException):
            pass
        self.path.unlink(missing_ok=True)

    def _flush(self) -> None:
        table = pa.Table.from_pylist(self._rows, schema=self.schema)
        self._writer.write_table(table, row_group_size=len(self._rows))
        self._rows, self._buffered_bytes = [], 0


def _writer_options(schema: pa.Schema) -> dict[str, Any]:
    leaves = [leaf for field in schema for leaf in _leaves(field)]
    payload = {f"{field.name}.bytes" for field in schema if is_payload(field)}
    return {
        "compression": {leaf: "NONE" if leaf in payload else "ZSTD" for leaf in leaves},
        "use_dictionary": [f.name for f in schema if isinstance(f.type, pa.DictionaryType)],
        "write_statistics": [f.name for f in schema if not pa.types.is_nested(f.type)],
        "write_page_index": True,
        "write_page_checksum": True,
        "store_schema": True,
    }


def _leaves(field: pa.Field) -> list[str]:
    if pa.types.is_struct(field.type):
        return [f"{field.name}.{member.name}" for member in field.type.fields]
    if isinstance(field.type, pa.FixedSizeListType | pa.ListType):
        return [f"{field.name}.list.element"]
    return [field.name]


def describe_shard(path: Path, relative: str) -> ShardFile:
    """Read a finished file and compute its digests for the manifest; raises CorruptShard."""
    parquet = _open_checked(path)
    with open(path, "rb") as file:
        whole = hashlib.file_digest(file, "sha256").hexdigest()
        groups = tuple(_row_group(parquet.metadata, i, file) for i in range(parquet.num_row_groups))
        num_bytes = path.stat().st_size
        tail = _tail_sha256(file, groups)
    key = parquet.schema_arrow.names[0]
    keys = parquet.read(columns=[key]).column(0).to_pylist()
    return ShardFile(
        path=relative,
        num_rows=parquet.metadata.num_rows,
        num_bytes=num_bytes,
        sha256=whole,
        tail_sha256=tail,
        keys_sha256=keys_digest(keys),
        row_groups=groups,
    )


def keys_digest(keys: Sequence[str]) -> str:
    """SHA-256 of row keys in their order."""
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()


class ShardReader:
    """Reads a committed file; everything it returns has been checked against the manifest.

    Raises CorruptShard if the file differs from the committed one. Caches the most recently read
    row groups. Opens the file on first use, so that a reader can be sent to another process.
    """

    def __init__(
        self,
        root: Path,
        file: ShardFile,
        cached_groups: int = 2,
        verified_at_once_bytes: int | None = None,
    ) -> None:
        self.root, self.file = root, file
        self._cached_groups = cached_groups
        if verified_at_once_bytes is None:
            verified_at_once_bytes = VERIFIED_AT_ONCE_BYTES
        self._verified_at_once_bytes = verified_at_once_bytes  # 0: each group when it is read
        self._groups: OrderedDict[tuple[int, tuple[str, ...]], pa.Table] = OrderedDict()
        self._verified: set[int] = set()
        self._parquet: pq.ParquetFile | None = None
        self._map: pa.MemoryMappedFile | None = None
        self._starts = [0]
        for group in file.row_groups:
            self._starts.append(self._starts[-1] + group.num_rows)

    def __getstate__(self) -> tuple[Path, ShardFile, int, int]:
        return self.root, self.file, self._cached_groups, self._verified_at_once_bytes

    def __setstate__(self, state: tuple[Path, ShardFile, int, int]) -> None:
        self.__init__(*state)

    def __len__(self) -> int:
        return self.file.num_rows

    def row(self, index: int, columns: Sequence[str] | None = None) -> Row:
        """Return row `index` as Python values; raises IndexError, CorruptShard."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.file.path} has {len(self)} rows; found row number {index}")
        group = next(i for i, start in enumerate(self._starts[1:]) if index < start)
        table = self.group(group, columns)
        offset = index - self._starts[group]
        return {name: table.column(name)[offset].as_py() for name in table.column_names}

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[Row]:
        """Yield all rows in order, with one row group in memory at a time; raises CorruptShard."""
        for group in range(len(self.file.row_groups)):
            table = self.group(group, columns)
            for offset in range(table.num_rows):
                yield {name: table.column(name)[offset].as_py() for name in table.column_names}

    def table(self, columns: Sequence[str]) -> pa.Table:
        """Read some columns of all rows; raises CorruptShard."""
        names = self._open().schema_arrow.names
        wanted = [name for name in names if name in set(columns)]
        groups = [self.group(i, wanted) for i in range(len(self.file.row_groups))]
        if groups:
            return pa.concat_tables(groups)
        return self._open().schema_arrow.empty_table().select(wanted)

    def scan(self, columns: Sequence[str]) -> pa.Table:
        """Read some columns of all rows, checking only the footer's digest and page checksums.

        Cheaper than `table`, which hashes everything. Raises CorruptShard, UnreadableFile.
        """
        path = self.root / self.file.path
        try:
            with open_regular(path) as file:
                self._check_tail(file)
            with pq.ParquetFile(path, page_checksum_verification=True) as parquet:
                return parquet.read(columns=list(columns), use_threads=False)
        except FileNotFoundError as error:
            raise self._corrupt("the file is missing") from error
        except (OSError, pa.ArrowException) as error:
            raise self._corrupt(f"it cannot be read: {error}") from error

    def group(self, index: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Read and check one row group; raises CorruptShard, UnreadableFile."""
        key = (index, tuple(columns) if columns is not None else ("*",))
        if key in self._groups:
            self._groups.move_to_end(key)
            return self._groups[key]
        parquet = self._open()
        self._verify_group(index)
        try:
            table = parquet.read_row_group(index, columns=columns, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise self._corrupt(f"row group {index} cannot be read: {error}") from error
        self._groups[key] = table
        while len(self._groups) > self._cached_groups:
            self._groups.popitem(last=False)
        return table

    def _open(self) -> pq.ParquetFile:
        if self._parquet is None:
            path = self.root / self.file.path
            try:
                with open_regular(path) as file:
                    self._check_tail(file)
            except FileNotFoundError as error:
                raise self._corrupt("the file is missing") from error
            self._map = pa.memory_map(str(path))
            if self.file.num_bytes <= self._verified_at_once_bytes:
                for index in range(len(self.file.row_groups)):
                    self._verify_group(index)
            parquet = pq.ParquetFile(self._map, page_checksum_verification=True)
            groups = [parquet.metadata.row_group(i) for i in range(parquet.num_row_groups)]
            if [g.num_rows for g in groups] != [g.num_rows for g in self.file.row_groups]:
                raise self._corrupt("it has other row groups than its manifest entry")
            self._parquet = parquet
        return self._parquet

    def _check_tail(self, file: BinaryIO) -> None:
        """Check size and footer, so that only an unchanged footer is ever parsed."""
        num_bytes = os.fstat(file.fileno()).st_size
        if num_bytes != self.file.num_bytes:
            raise self._corrupt(f"it has {num_bytes} bytes; expected {self.file.num_bytes}")
        if _tail_sha256(file, self.file.row_groups) != self.file.tail_sha256:
            raise self._corrupt("its footer or page index has another digest")

    def _verify_group(self, index: int) -> None:
        if index in self._verified or self._map is None:
            return
        group = self.file.row_groups[index]
        data = self._map.read_at(group.num_bytes, group.offset)
        if hashlib.sha256(data).hexdigest() != group.sha256:
            raise self._corrupt(f"row group {index} has another digest")
        self._verified.add(index)

    def _corrupt(self, what: str) -> CorruptShard:
        return CorruptShard(
            f"{self.file.path}: {what}. The manifest says {self.file.num_rows} rows, sha256 "
            f"{self.file.sha256[:12]}. Restore it, or run `nightrain repair` and then the command "
            "that made it."
        )


def shard_metadata(path: Path) -> dict[str, str]:
    """Read a file's schema metadata under the key `nightrain`, its origin; raises CorruptShard."""
    metadata = _open_checked(path).schema_arrow.metadata or {}
    return json.loads(metadata.get(b"nightrain", b"{}"))


def read_scalars(path: Path, columns: Sequence[str]) -> pa.Table:
    """Read some columns of a shard, and nothing else of it; raises CorruptShard.

    Page checksums are verified, the digests of the manifest are not.
    """
    try:
        return _open_checked(path).read(columns=list(columns), use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise CorruptShard(f"{path} cannot be read: {error}. Run `nightrain verify`.") from error


def _open_checked(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise CorruptShard(f"{path} is not a readable Parquet file: {error}") from error


def _tail_sha256(file: BinaryIO, groups: Sequence[RowGroup]) -> str:
    """SHA-256 of everything outside the row groups: page indexes, footer, magic bytes."""
    end_of_data = max((group.offset + group.num_bytes for group in groups), default=0)
    file.seek(0)
    digest = hashlib.sha256(file.read(4))
    file.seek(end_of_data)
    digest.update(file.read())
    return digest.hexdigest()


def _row_group(metadata: pq.FileMetaData, index: int, file: BinaryIO) -> RowGroup:
    group = metadata.row_group(index)
    chunks = [group.column(i) for i in range(group.num_columns)]
    start = min(c.dictionary_page_offset or c.data_page_offset for c in chunks)
    num_bytes = sum(c.total_compressed_size for c in chunks)  # chunks are contiguous
    file.seek(start)
    return RowGroup(
        num_rows=group.num_rows,
        offset=start,
        num_bytes=num_bytes,
        sha256=hashlib.sha256(file.read(num_bytes)).hexdigest(),
    )
