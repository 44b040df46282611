"""Dataset statistics: counts, luminance, severity, physical values, depth."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from nightrain.datasets.io.images import decode_depth_png, decode_jpeg
from nightrain.datasets.shards.manifest import FRAMES, Entry, Manifest
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.shards.verify import lost_files
from nightrain.pipelines.inspect.columns import ScalarColumns, Spread
from nightrain.pipelines.inspect.source_counts import SourceStats, source_stats

DEPTH_EDGES_M = (0.0, 5.0, 10.0, 20.0, 30.0, 40.0, 60.0, 80.0, 256.0)
SAMPLED_ROWS = 500  # rows of a table whose images are decoded
LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)  # ITU-R BT.709


class TableStats(BaseModel):
    """Statistics of one table."""

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
    depth_share: Spread | None = None  # labels: share of a map's pixels with depth
    confident_share: Spread | None = None  # labels: share of confidence of at least one half


class DatasetStats(BaseModel):
    """Statistics of all tables and sources, and the histogram of the frames' LiDAR depth."""

    lost: dict[str, str] = {}  # committed files that are not there, and why; left out of the rest
    tables: dict[str, TableStats]
    sources: dict[str, SourceStats] = {}  # frames only
    depth_edges_m: tuple[float, ...] = DEPTH_EDGES_M
    depth_share: tuple[float, ...] = ()  # share of the returns between two edges


def dataset_stats(
    root: Path,
    sampled_rows: int = SAMPLED_ROWS,
    progress: Callable[[int, int], None] | None = None,
) -> DatasetStats:
    """Compute statistics from the manifest, the scalar columns and a sample of the images.

    The sample is evenly spaced, so the same dataset always gives the same numbers. Raises
    CorruptShard for a damaged file.
    """
    manifest = Manifest(root)
    found = {table: manifest.entries(table) for table in manifest.tables()}
    lost = dict(lost_files(root, [entry for of_table in found.values() for entry in of_table]))
    entries = {
        table: there
        for table, of_table in found.items()
        if (there := [entry for entry in of_table if entry.rows.path not in lost])
    }
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
        lost=lost,
        tables=tables,
        sources=source_stats(manifest, frames),
        depth_share=_depth_share(manifest, frames, sampled_rows),
    )


def _table_stats(manifest: Manifest, entries: Sequence[Entry], sampled_rows: int) -> TableStats:
    columns = ScalarColumns(manifest, entries)
    physical = {name: columns.spread(f"physical.{name}") for name in columns.members("physical")}
    return TableStats(
        num_shards=len(entries),
        num_rows=columns.num_rows,
        num_bytes=sum(e.rows.num_bytes for e in entries),
        quarantined=dict(sum((Counter(e.counts) for e in entries), Counter())),
        by_condition=columns.counts("coalesce(condition, 'none')"),
        by_split=columns.counts("coalesce(split, 'none')"),
        by_camera=columns.counts("coalesce(camera, 'none')"),
        luminance=_luminance(manifest, entries, sampled_rows),
        severity=columns.spread("severity"),
        physical={name: spread for name, spread in physical.items() if spread is not None},
        gen_seconds=columns.spread("gen_seconds"),
        depth_share=columns.spread("depth_share"),
        confident_share=columns.spread("confident_share"),
    )


def _luminance(manifest: Manifest, entries: Sequence[Entry], sampled_rows: int) -> Spread | None:
    """Spread of the mean luma of the sampled images; None for a table without images."""
    images = [row.get("image") for row in sample(manifest, entries, sampled_rows, ["image"])]
    values = [mean_luminance(decode_jpeg(image["bytes"])) for image in images if image]
    if not values:
        return None
    return Spread(
        count=len(values),
        lowest=min(values),
        median=float(np.median(values)),
        mean=float(np.mean(values)),
        highest=max(values),
    )


def sample(
    manifest: Manifest, entries: Sequence[Entry], num_rows: int, columns: Sequence[str]
) -> list[Row]:
    """Read at most `num_rows` rows, evenly spaced over the committed shards."""
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
