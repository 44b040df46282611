"""Dataset statistics: counts, luminance, severity, physical values, depth.

Counts and spreads are those of all rows, from scalar columns alone. Images and depth maps are only
read for a sample of evenly spaced rows, without their digests: `nightrain verify` checks those.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from nightrain.datasets.errors import CorruptShard
from nightrain.datasets.io.images import decode_depth_png
from nightrain.datasets.shards.manifest import FRAMES, Entry, Manifest
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.shards.verify import lost_files
from nightrain.pipelines.inspect.columns import ScalarColumns, Spread
from nightrain.pipelines.inspect.gate_stats import GateStats, gate_stats
from nightrain.pipelines.inspect.source_counts import SourceStats, source_stats

DEPTH_EDGES_M = (0.0, 5.0, 10.0, 20.0, 30.0, 40.0, 60.0, 80.0, 256.0)
SAMPLED_ROWS = 500  # rows of a table whose images are decoded
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
REDUCED = cv2.IMREAD_REDUCED_COLOR_4  # the mean needs no full resolution
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
    by_condition_and_camera: dict[str, dict[str, int]] = {}
    luminance: Spread | None = None  # mean of an image, 0 to 255, over the sampled images
    severity: Spread | None = None
    severity_quantiles: dict[float, float] = {}  # by share of the rows, of QUANTILES
    physical: dict[str, Spread] = {}
    gen_seconds: Spread | None = None
    depth_share: Spread | None = None  # labels: share of a map's pixels with depth
    num_uncontrolled: int = 0  # variants on which no control acted: not trained on by default
    confident_share: Spread | None = None  # labels: share of confidence of at least one half
    gates: GateStats | None = None  # None: no gate judged these rows


class DatasetStats(BaseModel):
    """Statistics of all tables and sources, and the histogram of the frames' LiDAR depth."""

    lost: dict[str, str] = {}  # committed files that are not there, and why; left out of the rest
    sampled_rows: int = SAMPLED_ROWS  # at most, per table, of luminance and LiDAR depth
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

    The sample is evenly spaced, so the same dataset always gives the same numbers. `progress`
    receives (finished tables, number of tables). Raises CorruptShard for an unreadable file.
    """
    manifest = Manifest(root)
    found = {table: manifest.entries(table) for table in manifest.tables()}
    lost = dict(lost_files(root, [entry for of_table in found.values() for entry in of_table]))
    entries = {
        table: there
        for table, of_table in found.items()
        if (there := [entry for entry in of_table if entry.rows.path not in lost])
    }
    tables: dict[str, TableStats] = {}
    for table in entries:
        tables[table] = _table_stats(manifest, entries[table], sampled_rows)
        if progress is not None:
            progress(len(tables), len(entries))
    frames = entries.get(FRAMES, [])
    return DatasetStats(
        lost=lost,
        sampled_rows=sampled_rows,
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
        by_condition_and_camera=columns.cross_counts(
            "coalesce(condition, 'none')", "coalesce(camera, 'none')"
        ),
        luminance=_luminance(manifest, entries, sampled_rows),
        severity=columns.spread("severity"),
        severity_quantiles=columns.quantiles("severity", QUANTILES),
        physical={name: spread for name, spread in physical.items() if spread is not None},
        gen_seconds=columns.spread("gen_seconds"),
        num_uncontrolled=_num_uncontrolled(columns),
        depth_share=columns.spread("depth_share"),
        confident_share=columns.spread("confident_share"),
        gates=gate_stats(manifest, entries) if "gates" in columns.names else None,
    )


def _num_uncontrolled(columns: ScalarColumns) -> int:
    return columns.counts("controlled").get("false", 0) if "controlled" in columns.names else 0


def _luminance(manifest: Manifest, entries: Sequence[Entry], sampled_rows: int) -> Spread | None:
    """Spread of the mean luma of the sampled images; None for a table without images."""
    found = sampled_payload(manifest, entries, sampled_rows, "image")
    images = (cv2.imdecode(np.frombuffer(data, np.uint8), REDUCED) for data in found)
    values = [mean_luminance(image[..., ::-1]) for image in images if image is not None]
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
    """Read and check at most `num_rows` rows, evenly spaced over the committed shards."""
    rows = []
    for entry, wanted in _evenly_spaced(entries, num_rows):
        reader = manifest.reader(entry.rows)
        rows += [reader.row(index, columns) for index in wanted]
    return rows


def sampled_payload(
    manifest: Manifest, entries: Sequence[Entry], num_rows: int, column: str
) -> Iterator[bytes]:
    """Yield the files of a payload column of evenly spaced rows, without those that have none.

    Only page checksums are verified. Raises CorruptShard for an unreadable file.
    """
    for entry, wanted in _evenly_spaced(entries, num_rows):
        try:
            yield from payload_of_rows(manifest.root / entry.rows.path, column, wanted)
        except (OSError, pa.ArrowException) as error:
            raise CorruptShard(
                f"{entry.rows.path} cannot be read: {error}. Run `nightrain verify`."
            ) from error


def payload_of_rows(path: Path, column: str, wanted: Sequence[int]) -> Iterator[bytes]:
    """Yield the files of some rows of a shard; only their row groups are read."""
    file = pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
    if column not in file.schema_arrow.names:
        return
    start = 0
    for number in range(file.num_row_groups):
        end = start + file.metadata.row_group(number).num_rows
        if here := [index - start for index in wanted if start <= index < end]:
            group = file.read_row_group(number, columns=[column], use_threads=False).column(0)
            values = (group[index].as_py() for index in here)
            yield from (value["bytes"] for value in values if value is not None)
        start = end


def _evenly_spaced(entries: Sequence[Entry], num_rows: int) -> Iterator[tuple[Entry, list[int]]]:
    """Yield the shards that hold some of the wanted rows, with the numbers of these rows."""
    total = sum(entry.rows.num_rows for entry in entries)
    wanted = np.unique(np.linspace(0, total - 1, min(num_rows, total)).astype(int))
    start = 0
    for entry in entries:
        end = start + entry.rows.num_rows
        low, high = np.searchsorted(wanted, (start, end))
        if high > low:
            yield entry, (wanted[low:high] - start).tolist()
        start = end


def mean_luminance(image: np.ndarray) -> float:
    """Mean luma of an RGB image (H, W, 3) uint8, 0 to 255."""
    return float(image.reshape(-1, 3).mean(0) @ LUMA)


def _depth_share(
    manifest: Manifest, entries: Sequence[Entry], sampled_rows: int
) -> tuple[float, ...]:
    counts = np.zeros(len(DEPTH_EDGES_M) - 1)
    for data in sampled_payload(manifest, entries, sampled_rows, "lidar_depth"):
        depth_m = decode_depth_png(data)
        counts += np.histogram(depth_m[depth_m > 0], DEPTH_EDGES_M)[0]
    return tuple(float(x) for x in counts / counts.sum()) if counts.sum() else ()
