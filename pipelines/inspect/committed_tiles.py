"""Tiles of what a dataset holds: committed variants of a few frames, and quarantined rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nightrain.datasets.conditions import QUANTITIES
from nightrain.datasets.io.images import decode_jpeg
from nightrain.datasets.shards.frame_plan import bad_frames
from nightrain.datasets.shards.manifest import FRAMES, Entry, Manifest, Shard, last_attempts
from nightrain.datasets.shards.parquet import Row
from nightrain.pipelines.inspect.contact_sheet import Tile, text_tile

FRAME_COLUMNS = ("frame_id", "scene_id", "camera", "image")
VARIANT_COLUMNS = ("frame_id", "condition", "severity", "physical", "image")
NO_FRAME_SHAPE = (216, 384)  # of the text about a frame that could not be read
REASON_COLUMNS = ("frame_id", "scene_id", "camera", "condition", "reason", "message")


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A row that is in quarantine now."""

    number: int  # of the frames shard that a variant was made from
    row: Row  # REASON_COLUMNS
    entry: Entry | None = None  # whose quarantine has it; None for a frame
    index: int = 0  # of its row there


def committed_lines(
    manifest: Manifest, frames: Sequence[Entry], tables: Mapping[str, str], num_frames: int
) -> Iterator[list[Tile]]:
    """Yield a row of tiles per frame: the clear image, and its variants by condition.

    `tables` are the tables of variants by condition. The frames are evenly spaced over those with
    committed variants; nothing is yielded without any.
    """
    entries = {condition: manifest.entries(table) for condition, table in tables.items()}
    made = {entry.shard.number for of_table in entries.values() for entry in of_table}
    reasons = {
        (found.row["frame_id"], condition): found.row["reason"]
        for condition, table in tables.items()
        for found in quarantined(manifest, table)
    }
    chosen = [frame for frame in frames if frame.shard.number in made]
    for frame, index in _evenly_spaced(chosen, num_frames):
        row = manifest.reader(frame.rows).row(index, FRAME_COLUMNS)
        line = [_clear_tile(row)]
        for condition, of_table in entries.items():
            attempts = [entry for entry in of_table if entry.shard.number == frame.shard.number]
            variants = list(_rows_of(manifest, attempts, row["frame_id"], VARIANT_COLUMNS))
            line += [_variant_tile(variant) for variant in variants]
            if not variants:
                words = reasons.get((row["frame_id"], condition), "not generated yet")
                line.append(text_tile(condition, words, line[0].image.shape))
        yield line


def quarantine_lines(
    manifest: Manifest, tables: Sequence[str], num_rows: int
) -> Iterator[list[Tile]]:
    """Yield a row of tiles per quarantined row: the clear frame, if it could be read, and why.

    `tables` are tables of variants, or "frames". The rows are evenly spaced; nothing is yielded
    without any.
    """
    found = [(table, bad) for table in tables for bad in quarantined(manifest, table)]
    chosen = sorted({int(i) for i in np.linspace(0, len(found) - 1, min(num_rows, len(found)))})
    for table, bad in (found[i] for i in chosen):
        frame = None if table == FRAMES else _clear_frame(manifest, bad)
        line = [] if frame is None else [_clear_tile(frame)]
        shape = line[0].image.shape if line else NO_FRAME_SHAPE
        label = f"{bad.row['condition'] if line else bad.row['scene_id']} {bad.row['camera']}"
        words = text_tile(label, f"{bad.row['reason']}: {bad.row['message']}", shape)
        yield [*line, *_rejected_tile(manifest, bad), words]


def quarantined(manifest: Manifest, table: str) -> Iterator[Quarantined]:
    """Yield the rows of a table that are in quarantine now: those of each shard's last attempt."""
    entries = manifest.entries(table)
    if table == FRAMES:
        for source in sorted({entry.about.get("source", "") for entry in entries}):
            for bad in bad_frames(manifest.root, source).values():
                yield Quarantined(0, {**bad.model_dump(), "condition": "clear"})
        return
    for entry in last_attempts(entries):
        if entry.quarantine is not None:
            rows = manifest.reader(entry.quarantine).rows(REASON_COLUMNS)
            for index, row in enumerate(rows):
                yield Quarantined(entry.shard.number, row, entry, index)


def _rejected_tile(manifest: Manifest, bad: Quarantined) -> Iterator[Tile]:
    """Yield the picture that gates rejected, if there is one."""
    if bad.entry is None or bad.entry.quarantine is None:
        return
    row = manifest.reader(bad.entry.quarantine).row(bad.index, ("image", "codes"))
    if row["image"] is not None:
        yield Tile(decode_jpeg(row["image"]["bytes"]), ", ".join(row["codes"] or []))


def variant_label(
    condition: str, severity: float | None, physical: Mapping[str, float | None]
) -> str:
    """Label of a variant's tile: "fog 0.52 (83 m)", or "fog" of an engine without either."""
    known = [q for q in QUANTITIES if q.is_weather and physical.get(q.name) is not None]
    values = ", ".join(f"{physical[q.name]:.3g} {q.unit}" for q in known)
    strength = "" if severity is None else f" {severity:.2f}"
    return f"{condition}{strength}" + (f" ({values})" if values else "")


def _evenly_spaced(entries: Sequence[Entry], num_rows: int) -> list[tuple[Entry, int]]:
    """At most `num_rows` rows, each as its entry and its position in it."""
    ends = np.cumsum([entry.rows.num_rows for entry in entries], dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    wanted = np.unique(np.linspace(0, total - 1, min(num_rows, total)).astype(np.int64))
    shards = np.searchsorted(ends, wanted, side="right")
    return [
        (entries[shard], int(row - ends[shard] + entries[shard].rows.num_rows))
        for shard, row in zip(shards.tolist(), wanted.tolist(), strict=True)
    ]


def _rows_of(
    manifest: Manifest, entries: Sequence[Entry], frame_id: str, columns: Sequence[str]
) -> Iterator[Row]:
    """Yield the rows of one frame."""
    for entry in entries:
        reader = manifest.reader(entry.rows)
        ids = reader.table(["frame_id"]).column(0).to_pylist()
        for index in (i for i, found in enumerate(ids) if found == frame_id):
            yield reader.row(index, columns)


def _clear_frame(manifest: Manifest, bad: Quarantined) -> Row | None:
    entry = manifest.entry(Shard(table=FRAMES, number=bad.number))
    rows = _rows_of(manifest, [entry] if entry else [], bad.row["frame_id"], FRAME_COLUMNS)
    return next(rows, None)


def _clear_tile(row: Row) -> Tile:
    return Tile(decode_jpeg(row["image"]["bytes"]), f"{row['scene_id']} {row['camera']}")


def _variant_tile(row: Row) -> Tile:
    label = variant_label(row["condition"], row["severity"], row["physical"] or {})
    return Tile(decode_jpeg(row["image"]["bytes"]), label)
