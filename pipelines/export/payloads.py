"""Payloads of an exported row: its picture, depth, labels and confidence, byte for byte."""

from typing import Literal

from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.shards.parquet import ShardFile, ShardReader
from nightrain.pipelines.export.job import DepthChoice
from nightrain.pipelines.export.selection import ExportRow

Payload = Literal["image", "depth", "velodyne", "label", "label_confidence", "confidence"]
MOST_READERS = 12  # of frames, labels and the tables of variants; each keeps two row groups


class PayloadReader:
    """Reads payloads of rows; everything is checked against the manifest."""

    def __init__(self, manifest: Manifest, depth: DepthChoice) -> None:
        self._manifest, self._depth = manifest, depth
        self._readers: dict[str, ShardReader] = {}

    def read(self, row: ExportRow, payload: Payload) -> bytes | None:
        """Bytes of a payload, as they are in the shard; None where the row has none."""
        place = self._place(row, payload)
        if place is None:
            return None
        (file, number), column = place
        value = self._reader(file).row(number, (column,))[column]
        return None if value is None else value["bytes"]

    def depth_kind(self, row: ExportRow) -> str | None:
        """Which depth a row has: "exact", "lidar" or "label"; None for none."""
        kinds = ("exact", "lidar") if self._depth == "auto" else (self._depth,)
        has = {name: row.frame[f"{name}_depth"] is not None for name in ("exact", "lidar")}
        has |= {"label": row.label is not None, "none": False}
        return next((kind for kind in kinds if has[kind]), None)

    def has(self, row: ExportRow, payload: Payload) -> bool:
        """Whether a row has a payload, without reading it."""
        if payload == "velodyne":
            return row.frame["lidar_depth"] is not None
        if payload == "confidence":
            return row.is_generated and row.facts["confidence"] is not None
        return self._place(row, payload) is not None

    def _place(self, row: ExportRow, payload: Payload) -> tuple[tuple[ShardFile, int], str] | None:
        if payload == "depth":
            kind = self.depth_kind(row)
            if kind == "label":
                return self._place(row, "label")
            return None if kind is None else (row.frame_at, f"{kind}_depth")
        if payload == "velodyne":
            return row.frame_at, "lidar_depth"
        if payload in ("label", "label_confidence"):
            column = "depth" if payload == "label" else "confidence"
            return None if row.label_at is None else (row.label_at, column)
        if payload == "confidence" and not row.is_generated:
            return None
        return row.at, payload

    def _reader(self, file: ShardFile) -> ShardReader:
        if file.path not in self._readers:
            if len(self._readers) >= MOST_READERS:
                del self._readers[next(iter(self._readers))]
            self._readers[file.path] = self._manifest.reader(file)
        return self._readers[file.path]
