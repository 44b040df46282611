"""Pictures found in a folder: files, and rows of the Parquet and Arrow tables of a dataset."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nightrain.datasets.errors import DamagedInput, InvalidRequest
from nightrain.datasets.io.images import MAX_FILE_BYTES
from nightrain.datasets.io.pairing import Name, name_of
from nightrain.datasets.io.regular import names_below
from nightrain.datasets.io.untrusted import read_bytes, safe_join
from nightrain.pipelines.engines.imported.listing import ListedPicture
from nightrain.pipelines.engines.imported.picture_reader import picture_bytes, read_arrow

PICTURES, TABLES = (".jpg", ".jpeg", ".png"), (".parquet", ".arrow")
NAME_COLUMNS = ("frame_id", "source_id", "file_name", "image_id", "name", "id")
# Endings that CycleGAN and pix2pix write: the translation, and what it was made from.
TRANSLATED = re.compile(r"_fake(_B)?$")
OTHERS = re.compile(r"_(real|rec|idt)(_[AB])?$|_fake_A$")
NUSCENES = re.compile(r".*__([A-Z_]+__\d{16})")  # <log>__<channel>__<microseconds>


@dataclass(slots=True)
class Found:
    """Pictures of a folder by their place in words, with the names to match them by."""

    column: str = ""  # of tables: the column of the pictures
    pictures: dict[str, ListedPicture] = field(default_factory=dict)
    names: dict[str, Name] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)  # why, by place

    def add(self, picture: ListedPicture, name: Name) -> None:
        """Add a picture with the name that it goes by."""
        self.pictures[picture.place] = picture
        self.names[picture.place] = _plain(name)


def find_pictures(folder: Path) -> Found:
    """Find the pictures of a folder or, if it has none, of its tables; raises InvalidRequest.

    A picture that cannot be read is left out, with the reason.
    """
    start = len(str(folder)) + 1
    paths = [path[start:] for path in names_below(str(folder))]
    files = [path for path in paths if path.lower().endswith(PICTURES)]
    tables = [path for path in paths if path.lower().endswith(TABLES)]
    if files:
        return _of_files(folder, files)
    if tables:
        return _of_tables(folder, tables)
    raise InvalidRequest(
        f"{folder} has {len(paths)} files and no picture; expected {', '.join(PICTURES)}, or the "
        f"tables of a Hugging Face dataset ({', '.join(TABLES)}) with embedded pictures."
    )


def _of_files(folder: Path, files: Sequence[str]) -> Found:
    found = Found()
    is_gan = any(TRANSLATED.search(Path(file).stem) for file in files)
    for file in files:
        if is_gan and OTHERS.search(Path(file).stem):
            found.left_out[file] = "which are inputs or reconstructions of CycleGAN"
            continue
        try:
            data = read_bytes(folder, file, MAX_FILE_BYTES)
        except DamagedInput as error:
            found.left_out[file] = str(error)
            continue
        found.add(ListedPicture(file=file, sha256=_sha256(data)), name_of(file))
    return found


def _of_tables(folder: Path, tables: Sequence[str]) -> Found:
    found = Found()
    for file in tables:
        try:
            row = -1
            for table in _batches(safe_join(folder, file)):
                column, names = _columns(table.schema, file)
                if found.column not in ("", column):
                    raise InvalidRequest(
                        f"{file} has its pictures in {column!r}, others in {found.column!r}; "
                        "expected one column. Import the tables from folders of their own."
                    )
                found.column = column
                for cell, name in zip(table.column(column), _names(table, names), strict=True):
                    row += 1
                    _add_row(found, file, row, cell, name)
        except (OSError, pa.ArrowException, DamagedInput) as error:
            raise InvalidRequest(
                f"The table {file} in {folder} cannot be read: {error}. Copy it from the original."
            ) from error
    return found


def _add_row(found: Found, file: str, row: int, cell: pa.Scalar, name: str) -> None:
    try:
        data = picture_bytes(cell.as_py())
    except DamagedInput as error:
        found.left_out[f"{file}, row {row}"] = str(error)
        return
    # Ids such as "scene/camera/1403" have no suffix, and a number after a dot may be part of one.
    has_suffix = name.lower().endswith(PICTURES)
    found.add(
        ListedPicture(file=file, row=row, sha256=_sha256(data)),
        name_of(name if has_suffix else f"{name}.x"),
    )


def _batches(path: Path) -> Iterator[pa.Table]:
    if path.suffix != ".parquet":
        yield read_arrow(path)
        return
    with pq.ParquetFile(path, memory_map=True) as file:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number, use_threads=False)


def _columns(schema: pa.Schema, file: str) -> tuple[str, str]:
    """Column of the pictures and column of their names, "" for the pictures' own paths."""
    kinds = {field.name: field.type for field in schema}
    pictures = [name for name, kind in kinds.items() if _is_picture(kind)]
    column = "image" if "image" in pictures else next(iter(pictures), "")
    if len(pictures) != 1 and column != "image":
        raise InvalidRequest(
            f"{file} has {len(pictures)} columns of pictures among {', '.join(kinds)}; expected "
            "one, or one called image. Rename it."
        )
    names = next((name for name in NAME_COLUMNS if name in kinds), "")
    if not names and not pa.types.is_struct(kinds[column]):
        raise InvalidRequest(
            f"{file} has the columns {', '.join(kinds)}; expected one of {', '.join(NAME_COLUMNS)} "
            "with the names of the frames. Rename the column that has them."
        )
    return column, names


def _is_picture(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return {"bytes", "path"} <= {kind.field(n).name for n in range(kind.num_fields)}
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _names(table: pa.Table, names: str) -> Iterator[str]:
    if names:
        return (str(value) for value in table.column(names).to_pylist())
    column, _ = _columns(table.schema, "")
    return (str((cell.as_py() or {}).get("path") or "") for cell in table.column(column))


def _plain(name: Name) -> Name:
    """Name without CycleGAN's ending and nuScenes' log, and without KITTI's folder `data`."""
    *folders, stem = name
    stem = TRANSLATED.sub("", stem)
    if match := NUSCENES.fullmatch(stem):
        stem = match[1]
    return (*(folder for folder in folders if folder != "data"), stem)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
