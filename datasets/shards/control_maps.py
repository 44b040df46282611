"""Control maps: controls/<source>/NNNNN holds a network's depth of frames/NNNNN, row by row.

A map is made once per frame, at the frame's own size, and serves every condition, seed and recipe.
It is stored with 16 bits between its farthest and its nearest value.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.images import decode_depth_levels, encode_levels_png
from nightrain.datasets.shards.label_rows import require_same_frames
from nightrain.datasets.shards.manifest import FRAMES, Entry, Manifest
from nightrain.datasets.shards.parquet import Row

HIGHEST_LEVEL = 65535
MAP_COLUMNS = ("frame_id", "inverse_depth", "farthest", "nearest", "is_metric")


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlMap:
    """Inverse depth of one frame by a network."""

    inverse_depth: np.ndarray  # (H, W) float32, larger = nearer
    is_metric: bool  # whether it is in 1/m, rather than up to an unknown scale and shift

    def stored(self) -> "ControlMap":
        """Return the map with the values that a row holds: 16 bits."""
        return map_from_row(map_to_row(self, ""))


def map_to_row(control: ControlMap, frame_id: str) -> Row:
    """Return the columns of a row that hold a map."""
    values = control.inverse_depth.astype(np.float64)
    farthest, nearest = float(values.min()), float(values.max())
    step = (nearest - farthest) / HIGHEST_LEVEL
    levels = np.rint((values - farthest) / step) if step > 0 else np.zeros_like(values)
    data = encode_levels_png(levels.astype(np.uint16))
    return {
        "inverse_depth": {"bytes": data, "path": f"{frame_id}.control.png"},
        "farthest": farthest,
        "nearest": nearest,
        "is_metric": control.is_metric,
    }


def map_from_row(row: Row) -> ControlMap:
    """Decode the map of a row that has one; raises DamagedInput."""
    levels = decode_depth_levels(row["inverse_depth"]["bytes"])
    step = (row["nearest"] - row["farthest"]) / HIGHEST_LEVEL
    values = (row["farthest"] + step * levels).astype(np.float32)
    return ControlMap(inverse_depth=values, is_metric=row["is_metric"])


def map_rows(manifest: Manifest, frames: Entry, table: str) -> Iterator[Row]:
    """Yield the rows of maps of a frames shard, in its order, with the columns MAP_COLUMNS.

    Raises InvalidRequest if the maps have not been made, PlanMismatch if they belong to other
    frames.
    """
    maps = manifest.entry(frames.shard.model_copy(update={"table": table}))
    if maps is None:
        raise InvalidRequest(
            f"{manifest.root} has no control maps of {FRAMES}/{frames.shard.stem} in {table}. Run "
            f"`nightrain controls {manifest.root} --recipe ...` with this recipe first."
        )
    require_same_frames(frames, maps)
    yield from manifest.reader(maps.rows).rows(MAP_COLUMNS)
