"""Run sheet: a small contact sheet of what a run committed."""

from collections.abc import Iterator, Mapping

import numpy as np

from nightrain.datasets.io.images import decode_depth_levels, decode_depth_png, decode_jpeg
from nightrain.datasets.shards.manifest import CONTROLS, FRAMES, LABELS, Entry, Manifest, Shard
from nightrain.datasets.shards.parquet import Row
from nightrain.pipelines.inspect.contact_sheet import Tile, colour_depth, contact_sheet
from nightrain.pipelines.inspect.stats import sample

NUM_FRAMES = 4
TILE_WIDTH_PX = 200
MAX_TABLES = 7
SHOWN = {LABELS: "depth", CONTROLS: "inverse_depth"}  # column by kind of table; others: image


def run_sheet(manifest: Manifest, latest: Mapping[str, Shard]) -> np.ndarray | None:
    """Return a sheet (H, W, 3) uint8 of the latest shards by table; None if they have no images.

    A row shows one frame: clear, then its variants, labels or control maps of each table. Raises
    CorruptShard.
    """
    shown = {table: s for table, s in latest.items() if table.split("/")[0] != "captions"}
    if not shown:
        return None
    frames = manifest.entry(Shard(table=FRAMES, number=next(iter(shown.values())).number))
    if frames is None or not frames.rows.num_rows:
        return None
    columns = ("frame_id", "scene_id", "camera", "image")
    rows = sample(manifest, [frames], NUM_FRAMES, columns)
    tables = [table for table in shown if table != FRAMES][:MAX_TABLES]
    made = {table: _by_frame(manifest, frames, shown[table], rows) for table in tables}
    lines = [list(_line(row, made)) for row in rows]
    return contact_sheet(lines, TILE_WIDTH_PX)


def _line(frame: Row, made: Mapping[str, Mapping[str, Row]]) -> Iterator[Tile]:
    yield Tile(decode_jpeg(frame["image"]["bytes"]), f"{frame['scene_id']} {frame['camera']}")
    for table, rows in made.items():
        row = rows.get(frame["frame_id"])
        if row is not None:
            yield Tile(_image(table, row), table.rpartition("/")[2])


def _image(table: str, row: Row) -> np.ndarray:
    if table.split("/")[0] == LABELS:
        return colour_depth(decode_depth_png(row["depth"]["bytes"]))
    if table.split("/")[0] == CONTROLS:
        levels = decode_depth_levels(row["inverse_depth"]["bytes"])
        return np.repeat((levels >> 8).astype(np.uint8)[..., None], 3, axis=2)
    return decode_jpeg(row["image"]["bytes"])


def _by_frame(manifest: Manifest, frames: Entry, latest: Shard, rows: list[Row]) -> dict[str, Row]:
    """The first row of each of the frames in a table's shard of the same number."""
    entry = manifest.entry(latest.model_copy(update={"number": frames.shard.number}))
    if entry is None:
        return {}
    reader = manifest.reader(entry.rows)
    wanted = {row["frame_id"] for row in rows}
    columns = ["frame_id", SHOWN.get(latest.table.split("/")[0], "image")]
    found: dict[str, Row] = {}
    for index, frame_id in enumerate(reader.table(["frame_id"]).column(0).to_pylist()):
        if frame_id in wanted and frame_id not in found:
            row = reader.row(index, columns)
            if row[columns[1]] is not None:
                found[frame_id] = row
    return found
