"""Thumbnails: small pictures inside the page, of variants and their clear frames."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import cv2
import numpy as np

from nightrain.datasets.errors import DamagedInput
from nightrain.datasets.io.images import decode_jpeg, encode_jpeg
from nightrain.datasets.loader.table_rows import read_keys
from nightrain.datasets.shards.manifest import FRAMES, Manifest
from nightrain.datasets.shards.parquet import ShardFile

WIDTH_PX, QUALITY = 224, 70


class Place(NamedTuple):
    """A row of a committed file."""

    file: ShardFile
    row: int


class Shown(NamedTuple):
    """A variant and its clear frame, and what is said of it."""

    clear: str  # data URI; "" where there is none
    variant: str
    title: str
    words: str = ""


class Thumbnails:
    """Makes thumbnails of rows; reads each file once, in the order of its rows."""

    def __init__(self, manifest: Manifest, lost: Mapping[str, str]) -> None:
        self._manifest = manifest
        entries = [e for e in manifest.entries(FRAMES) if e.rows.path not in lost]
        keys = read_keys(manifest.root, entries, ["frame_id"])
        self._frame_at = {
            name: Place(keys.files[file], int(row))
            for name, file, row in zip(
                keys.columns["frame_id"].tolist(), keys.file, keys.row, strict=True
            )
        }

    def read(self, places: Sequence[Place], columns: Sequence[str]) -> list[dict[str, Any]]:
        """Rows at places, in their order; raises CorruptShard."""
        found: dict[Place, dict[str, Any]] = {}
        in_order = sorted({*places}, key=lambda place: (place.file.path, place.row))
        for _, of_file in groupby(in_order, key=lambda place: place.file.path):
            wanted = list(of_file)
            reader = self._manifest.reader(wanted[0].file)
            found |= {place: reader.row(place.row, columns) for place in wanted}
        return [found[place] for place in places]

    def clear(self, frame_ids: Sequence[str]) -> dict[str, str]:
        """Thumbnails of clear frames; those that the dataset lacks are left out."""
        known = [name for name in dict.fromkeys(frame_ids) if name in self._frame_at]
        rows = self.read([self._frame_at[name] for name in known], ("frame_id", "image"))
        return {row["frame_id"]: uri(row["image"]) for row in rows}

    def pictures(
        self, places: Sequence[Place], titles: Sequence[str], words: Sequence[str]
    ) -> Iterator[Shown]:
        """Yield variants, or rows of quarantine with a picture, with their clear frames."""
        rows = self.read(places, ("frame_id", "image"))
        clear = self.clear([row["frame_id"] for row in rows])
        for row, title, said in zip(rows, titles, words, strict=True):
            yield Shown(clear.get(row["frame_id"], ""), uri(row["image"]), title, said)


def uri(image: Mapping[str, Any] | None) -> str:
    """Thumbnail of a stored JPEG as a data URI; "" for none, or for one that is damaged."""
    if image is None or image["bytes"] is None:
        return ""
    try:
        pixels = decode_jpeg(image["bytes"])
    except DamagedInput:
        return ""
    height = max(1, round(pixels.shape[0] * WIDTH_PX / pixels.shape[1]))
    small = cv2.resize(pixels, (WIDTH_PX, height), interpolation=cv2.INTER_AREA)
    data = encode_jpeg(np.ascontiguousarray(small), quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
