"""Statistics of a dataset: counts, luminance, severity, physical values, depth."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from nightrain.datasets.io.images import decode_depth_png, decode_jpeg
from nightrain.datasets.shards.manifest import FRAMES, Entry, Manifest
from nightrain.datasets.shards.parquet import Row
from nightrain.pipelines.inspect.source_counts import SourceStats, source_stats

DEPTH_EDGES_M = (0.0, 5.0, 10.0, 20.0, 30.0, 40.0, 60.0, 80.0, 256.0)
SAMPLED_ROWS = 500  # rows of a table whose images are decoded
LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)  # ITU-R BT.709


class Spread(BaseModel):
    """Five numbers of a quantity."""

    count: int
    lowest: float
    median: float
    mean: float
    highest: float


class TableStats(BaseModel):
    """What one table holds."""

    num_shards: int
    num_rows: int
    num_bytes: int
    quarantined: dict[str, int]
    by_condition: dict[str, int]
    by_split: dict[str, int]
    by_camera: dict[str, int]
    luminance: Spread | None = None  # mean of an image, 0 to 255, over the sampled images
    severity: Spread | None = None
    physical: dict[str, Spread] = {}
    gen_seconds: Spread | None = None
    depth_share: Spread | None = None  # of labels: share of a map's pixels that have depth
    confident_share: Spread | None = None  # of labels: share of confidence at least one half


class DatasetStats(BaseModel):
    """All tables, the sources of the frames, and the histogram of the LiDAR depth of the frames."""

    tables: dict[str, TableStats]
    sources: dict[str, SourceStats] = {}  # of the frames
    depth_edges_m: tuple[float, ...] = DEPTH_EDGES_M
    depth_share: tuple[float, ...] = ()  # share of the returns between two edges


def dataset_stats(
    root: Path,
    sampled_rows: int = SAMPLED_ROWS,
    progress: Callable[[int, int], None] | None = None,
) -> DatasetStats:
    """Statistics from the manifest, the scalar columns and a sample of the images.

    The sample is evenly spaced, so that the same dataset gives the same numbers.
    """
    manifest = Manifest(root)
    entries = {table: manifest.entries(table) for table in manifest.tables()}
    num_rows = {table: sum(e.rows.num_rows for e in entries[table]) for table in entries}
    total = sum(min(sampled_rows, count) for count in num_rows.values())
    tables: dict[str, TableStats] = {}
    num_decoded = 0
    for table in entries:
        tables[table] = _table_stats(manifest, entries[table], sampled_rows)
        num_decoded += min(sampled_rows, num_rows[table])
        if progress is not None:
            progress(num_decoded, total)
    frames = entries.get(FRAMES, [])
    return DatasetStats(
        tables=tables,
        sources=source_stats(manifest, frames),
        depth_share=_depth_share(manifest, frames, sampled_rows),
    )


def _table_stats(manifest: Manifest, entries: Sequence[Entry], sampled_rows: int) -> TableStats:
    scalars = ["condition", "split", "camera", "severity", "physical", "gen_seconds"]
    scalars += ["depth_share", "confident_share"]
    rows = [r for e in entries for r in manifest.reader(e.rows).table(scalars).to_pylist()]
    quarantined: dict[str, int] = {}
    for reason, count in (item for e in entries for item in e.counts.items()):
        quarantined[reason] = quarantined.get(reason, 0) + count
    images = [r.get("image") for r in sample(manifest, entries, sampled_rows, ["image"])]
    luminance = [mean_luminance(decode_jpeg(image["bytes"])) for image in images if image]
    names = sorted({k for r in rows for k, v in (r.get("physical") or {}).items() if v is not None})
    return TableStats(
        num_shards=len(entries),
        num_rows=len(rows),
        num_bytes=sum(e.rows.num_bytes for e in entries),
        quarantined=quarantined,
        by_condition=_counts(rows, "condition"),
        by_split=_counts(rows, "split"),
        by_camera=_counts(rows, "camera"),
        luminance=_spread(luminance),
        severity=_spread([r.get("severity") for r in rows]),
        physical={k: s for k in names if (s := _spread([r["physical"].get(k) for r in rows]))},
        gen_seconds=_spread([r.get("gen_seconds") for r in rows]),
        depth_share=_spread([r.get("depth_share") for r in rows]),
        confident_share=_spread([r.get("confident_share") for r in rows]),
    )


def sample(
    manifest: Manifest, entries: Sequence[Entry], num_rows: int, columns: Sequence[str]
) -> list[Row]:
    """At most `num_rows` rows, evenly spaced over the committed shards."""
    total = sum(entry.rows.num_rows for entry in entries)
    wanted = sorted({int(i) for i in np.linspace(0, total - 1, min(num_rows, total))})
    rows, start = [], 0
    for entry in entries:
        end = start + entry.rows.num_rows
        reader = manifest.reader(entry.rows)
        rows += [reader.row(i - start, columns) for i in wanted if start <= i < end]
        start = end
    return rows


def mean_luminance(image: np.ndarray) -> float:
    """Mean luma of an image (H, W, 3) uint8, 0 to 255."""
    return float(image[::2, ::2].reshape(-1, 3).mean(0) @ LUMA)


def _depth_share(
    manifest: Manifest, entries: Sequence[Entry], sampled_rows: int
) -> tuple[float, ...]:
    counts = np.zeros(len(DEPTH_EDGES_M) - 1)
    for row in sample(manifest, entries, sampled_rows, ["lidar_depth"]):
        if row["lidar_depth"] is not None:
            depth_m = decode_depth_png(row["lidar_depth"]["bytes"])
            counts += np.histogram(depth_m[depth_m > 0], DEPTH_EDGES_M)[0]
    return tuple(float(x) for x in counts / counts.sum()) if counts.sum() else ()


def _counts(rows: Sequence[Row], column: str) -> dict[str, int]:
    values = [row.get(column) or "none" for row in rows]
    return {value: values.count(value) for value in sorted(set(values))}


def _spread(values: Sequence[float | None]) -> Spread | None:
    known = np.array([v for v in values if v is not None], np.float64)
    if not known.size:
        return None
    return Spread(
        count=known.size,
        lowest=float(known.min()),
        median=float(np.median(known)),
        mean=float(known.mean()),
        highest=float(known.max()),
    )
