"""Reader of imported pictures: files below a folder, and rows of Parquet and Arrow tables."""

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.io.images import MAX_FILE_BYTES
from nightrain.datasets.io.untrusted import read_bytes, safe_join
from nightrain.pipelines.engines.imported.listing import ListedPicture, PictureListing


class PictureReader:
    """Reads listed pictures and compares them with their digests."""

    def __init__(self, listing: PictureListing) -> None:
        self._listing = listing
        self._folder = Path(listing.folder)
        self._table: tuple[str, PictureColumn] | None = None  # the latest, which neighbours share

    def read(self, frame_id: str) -> tuple[ListedPicture, bytes]:
        """Return the place and the bytes of a frame's picture; raises DamagedInput."""
        picture = self._listing.pictures.get(frame_id)
        if picture is None:
            problem = self._listing.problems.get(frame_id)
            reason = Reason.BAD_RECORD if problem else Reason.MISSING_FILE
            raise DamagedInput(reason, problem or f"no file in {self._folder} is of this frame")
        data = self._bytes(picture)
        if hashlib.sha256(data).hexdigest() != picture.sha256:
            raise DamagedInput(
                Reason.CHECKSUM_MISMATCH,
                f"{picture.place} has changed since it was listed; run `nightrain import-variants` "
                "again, which makes a new table of variants",
            )
        return picture, data

    def _bytes(self, picture: ListedPicture) -> bytes:
        if picture.row is None:
            return read_bytes(self._folder, picture.file, MAX_FILE_BYTES)
        if self._table is None or self._table[0] != picture.file:
            path = safe_join(self._folder, picture.file)
            self._table = picture.file, PictureColumn(path, self._listing.column)
        return self._table[1].bytes_at(picture.row)


class PictureColumn:
    """Column of encoded pictures in a Parquet or Arrow file; one row group is kept."""

    def __init__(self, path: Path, column: str) -> None:
        self._path, self._column = path, column
        self._starts: list[int] = []
        self._group: tuple[int, pa.ChunkedArray] | None = None
        try:
            if path.suffix == ".parquet":
                self._file = pq.ParquetFile(path, memory_map=True)
                counts = map(self._file.metadata.row_group, range(self._file.num_row_groups))
                for count in (group.num_rows for group in counts):
                    self._starts.append((self._starts or [0])[-1] + count)
            else:
                self._group = 0, read_arrow(path).column(column)
        except (OSError, KeyError, pa.ArrowException) as error:
            raise self._damaged(error) from error

    def bytes_at(self, row: int) -> bytes:
        """Return the bytes of the picture in a row; raises DamagedInput."""
        try:
            return picture_bytes(self._cell(row))
        except (OSError, LookupError, pa.ArrowException) as error:
            raise self._damaged(error) from error

    def _cell(self, row: int) -> Any:
        number = next((n for n, end in enumerate(self._starts) if row < end), 0)
        if self._group is None or self._group[0] != number:
            columns = [self._column]
            table = self._file.read_row_group(number, columns=columns, use_threads=False)
            self._group = number, table.column(self._column)
        start = self._starts[number - 1] if number else 0
        return self._group[1][row - start].as_py()

    def _damaged(self, error: Exception) -> DamagedInput:
        return DamagedInput(Reason.MISSING_FILE, f"{self._path.name} cannot be read: {error}")


def picture_bytes(cell: object) -> bytes:
    """Encoded picture of a cell: bytes, or Hugging Face's {bytes, path}; raises DamagedInput."""
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(data, bytes) or not data:
        found = "no bytes" if data is None else type(data).__name__
        raise DamagedInput(
            Reason.EMPTY_FILE, f"the cell holds {found}; embed the pictures in the table"
        )
    return data


def read_arrow(path: Path) -> pa.Table:
    """Map an Arrow file or stream into memory; raises OSError, pa.ArrowException."""
    source = pa.memory_map(str(path))
    try:
        return pa.ipc.open_stream(source).read_all()
    except pa.ArrowInvalid:
        return pa.ipc.open_file(source).read_all()
