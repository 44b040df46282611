"""Pictures of samples, read from the shards by row: thumbnails, and all that a row shows."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import cv2
import numpy as np
import pyarrow as pa

from nightrain.datasets.io.images import (
    decode_confidence_png,
    decode_depth_levels,
    decode_depth_png,
    decode_jpeg,
    encode_jpeg,
)
from nightrain.datasets.shards.manifest import CONTROLS
from nightrain.datasets.shards.parquet import Row, ShardFile, ShardReader
from nightrain.pipelines.browse.index import SampleIndex
from nightrain.pipelines.browse.shown_files import FRAME
from nightrain.pipelines.inspect.contact_sheet import colour_depth
from nightrain.pipelines.inspect.stats import REDUCED, mean_luminance, payload_of_rows

THUMBNAIL_WIDTH_PX, THUMBNAIL_QUALITY, QUALITY = 320, 72, 90
CACHED_THUMBNAILS = 4096  # about 12 kB each
OPEN_SHARDS, CACHED_GROUPS = 24, 3  # a row group has about 2 MB
LIDAR_DOT_PX = 3  # a return of one pixel would not be seen


class NamedPicture(NamedTuple):
    """A picture of a sample: its name in addresses, its words, its row and its form."""

    name: str
    words: str
    file: ShardFile
    row: int
    column: str
    form: Callable[[bytes], bytes]  # stored file to the JPEG or PNG that is shown


class PictureFiles:
    """Rows and thumbnails of files; all methods may be called from several threads.

    Raises CorruptShard or UnreadableFile for a damaged file, DamagedInput for a bad picture.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._readers: OrderedDict[ShardFile, tuple[ShardReader, Lock]] = OrderedDict()
        self._lock = Lock()
        self.thumbnail = lru_cache(CACHED_THUMBNAILS)(self._thumbnail)

    def row(self, file: ShardFile, row: int, columns: Sequence[str] | None = None) -> Row:
        """Row of a file, checked against its digest."""
        with self._lock:
            reader, lock = self._readers.pop(file, None) or (
                ShardReader(self._root, file, CACHED_GROUPS, verified_at_once_bytes=0),
                Lock(),
            )
            self._readers[file] = reader, lock
            while len(self._readers) > OPEN_SHARDS:
                self._readers.popitem(last=False)
        with lock:
            return reader.row(row, columns)

    def _thumbnail(self, file: ShardFile, row: int) -> bytes | None:
        """Thumbnail of a row; None for a rejected row without a picture."""
        data = payload(self.row(file, row, ("image",)), "image")
        if data is None:
            return None
        pixels = decode_jpeg(data)
        height = max(1, round(pixels.shape[0] * THUMBNAIL_WIDTH_PX / pixels.shape[1]))
        size = (THUMBNAIL_WIDTH_PX, min(height, 4 * THUMBNAIL_WIDTH_PX))
        small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        return encode_jpeg(small, THUMBNAIL_QUALITY)


class Pictures:
    """Pictures of the samples of an index; raises as `PictureFiles` does."""

    def __init__(self, index: SampleIndex, files: PictureFiles) -> None:
        self._index = index
        self.row = files.row
        self._files = files

    def thumbnail(self, number: int) -> bytes | None:
        """Thumbnail of a sample; None for a rejected row without a picture."""
        found = self._index.row(number)
        return self._files.thumbnail(self._index.rows.files[found["file"]], found["row"])

    def lumas(self, numbers: np.ndarray) -> tuple[np.ndarray, int]:
        """Mean luma (N,) of samples' pictures, NaN without one, and how many cannot be read.

        Only page checksums are verified, and each file is opened once.
        """
        rows = self._index.rows.table
        found, unreadable = np.full(len(numbers), np.nan), 0
        of_file = rows.column("file").take(numbers).to_numpy()
        row_of = rows.column("row").take(numbers).to_numpy()
        for file in np.unique(of_file).tolist():
            here = np.flatnonzero(of_file == file)
            here = here[np.argsort(row_of[here], kind="stable")]
            path = self._index.root / self._index.rows.files[file].path
            try:
                values = payload_of_rows(path, "image", row_of[here].tolist())
                read = [luma(data) for data in values]
            except (OSError, pa.ArrowException):
                read = []
            if len(read) == len(here):
                found[here] = read
            else:
                unreadable += len(here)
        return found, unreadable

    def picture(self, number: int, name: str) -> bytes | None:
        """JPEG or PNG of a sample by name; None if it has no picture of that name."""
        found = next((one for one in self.named(number) if one.name == name), None)
        if found is None:
            return None
        data = payload(self.row(found.file, found.row, (found.column,)), found.column)
        return None if data is None else found.form(data)

    def named(self, number: int) -> list[NamedPicture]:
        """Pictures that a sample may have: its own, its frame's, control maps and labels."""
        rows, row = self._index.rows, self._index.row(number)
        own = rows.files[row["file"]]
        found = []
        if row["kind"] != FRAME:
            words = row["condition"] or row["kind"]
            found.append(NamedPicture("image", words, own, row["row"], "image", _as_it_is))
        frame_number = rows.frame_at.get(row["frame_id"])
        if frame_number is not None:
            frame = self._index.row(frame_number)
            found += self._of_frame(rows.files[frame["file"]], frame["row"])
        if row["kind"] != FRAME:
            picture = NamedPicture(
                "confidence", "confidence", own, row["row"], "confidence", _confidence
            )
            found.append(picture)
        return found

    def _of_frame(self, file: ShardFile, row: int) -> list[NamedPicture]:
        """Pictures of a clear frame; a label or map is in the same row as its frame."""
        found = [
            NamedPicture("clear", "clear frame", file, row, "image", _as_it_is),
            NamedPicture("exact-depth", "exact depth", file, row, "exact_depth", _depth),
            NamedPicture("lidar-depth", "LiDAR depth", file, row, "lidar_depth", _lidar),
        ]
        attached = self._index.rows.shown.attached
        for place, table in enumerate(sorted(t for t, path in attached if path == file.path)):
            found += _attached(place, table, attached[table, file.path], row)
        return found


def _attached(place: int, table: str, file: ShardFile, row: int) -> list[NamedPicture]:
    """Pictures of a row of labels or control maps."""
    top, _, name = table.partition("/")
    if top == CONTROLS:
        words = f"control {name}"
        return [NamedPicture(f"control-{place}", words, file, row, "inverse_depth", _control)]
    words = f"label {name}", f"confidence of label {name}"
    return [
        NamedPicture(f"label-{place}", words[0], file, row, "depth", _depth),
        NamedPicture(f"sure-{place}", words[1], file, row, "confidence", _confidence),
    ]


def luma(data: bytes) -> float:
    """Mean luma of a JPEG, 0 to 255, from a quarter of its size; NaN for a damaged one."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), REDUCED)
    return float("nan") if image is None else mean_luminance(image[..., ::-1])


def payload(row: Row, column: str) -> bytes | None:
    """Stored file in a column of a row; None if there is none."""
    value = row.get(column)
    return None if value is None else value["bytes"]


def media_type(data: bytes) -> str:
    """Media type of a JPEG or PNG."""
    return "image/png" if data[:4] == b"\x89PNG" else "image/jpeg"


def _as_it_is(data: bytes) -> bytes:
    return data


def _depth(data: bytes) -> bytes:
    return encode_jpeg(colour_depth(decode_depth_png(data)), QUALITY)


def _lidar(data: bytes) -> bytes:
    """Depth of returns as dots, the nearer one on top."""
    depth_m = decode_depth_png(data)
    nearness = np.where(depth_m > 0, 1.0 / np.maximum(depth_m, 1e-3), 0.0)
    dots = cv2.dilate(nearness, np.ones((LIDAR_DOT_PX, LIDAR_DOT_PX)))
    with np.errstate(divide="ignore"):
        shown = np.where(dots > 0, 1.0 / dots, 0.0)
    return encode_jpeg(colour_depth(shown), QUALITY)


def _control(data: bytes) -> bytes:
    """Control map in grey: near is white."""
    grey = (decode_depth_levels(data) >> 8).astype(np.uint8)
    return encode_jpeg(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), QUALITY)


def _confidence(data: bytes) -> bytes:
    """Confidence in colours: dark is 0, bright is 1."""
    levels = np.rint(decode_confidence_png(data) * 255).astype(np.uint8)
    colours = cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)
    return encode_jpeg(cv2.cvtColor(colours, cv2.COLOR_BGR2RGB), QUALITY)
