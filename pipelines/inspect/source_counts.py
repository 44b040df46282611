"""What the frames of a dataset are: by source, counted from the scalar columns alone."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from pydantic import BaseModel

from nightrain.datasets.protocols.leakage import scenes_of
from nightrain.datasets.shards.frame_plan import bad_frames
from nightrain.datasets.shards.manifest import Entry, Manifest
from nightrain.datasets.shards.parquet import Row

# Of a depth map only the name beside its bytes is read: it says that there is one.
LIDAR, EXACT = "lidar_depth.path", "exact_depth.path"
NEIGHBOURS = {"t-1": "previous_id", "t+1": "next_id", "stereo": "stereo_id"}
COLUMNS = (
    *("source_dataset", "split", "condition", "camera", "scene_id", "width", "height"),
    *(*NEIGHBOURS.values(), LIDAR, EXACT),
)


class SourceStats(BaseModel):
    """The committed frames of one source; counts by value, largest first."""

    num_frames: int
    num_quarantined: int  # now; a frame that a retry could read is no longer counted
    num_scenes: int
    num_logs: int
    by_split: dict[str, int]
    by_condition: dict[str, int]
    by_split_and_condition: dict[str, dict[str, int]]
    by_camera: dict[str, int]
    by_size: dict[str, int]  # "1600x900"
    by_depth: dict[str, int]  # "LiDAR", "exact", "LiDAR and exact", "none"
    by_neighbours: dict[str, int]  # "t-1 and t+1 and stereo", ..., "none"


def source_stats(manifest: Manifest, entries: Sequence[Entry]) -> dict[str, SourceStats]:
    """Statistics of frames shards by source; raises CorruptShard."""
    return {
        source: _stats(
            manifest, source, [e for e in entries if e.about.get("source", "") == source]
        )
        for source in sorted({e.about.get("source", "") for e in entries})
    }


def _stats(manifest: Manifest, source: str, entries: Sequence[Entry]) -> SourceStats:
    rows = [row for entry in entries for row in _rows(manifest, entry)]
    scenes = {scene for entry in entries for scene in scenes_of(manifest, entry)}
    splits = sorted({row["split"] for row in rows})
    return SourceStats(
        num_frames=len(rows),
        num_quarantined=len(bad_frames(manifest.root, source)),
        num_scenes=len({row["scene_id"] for row in rows}),
        num_logs=len({scene.drive for scene in scenes}),
        by_split=_count(row["split"] for row in rows),
        by_condition=_count(row["condition"] for row in rows),
        by_split_and_condition={
            split: _count(row["condition"] for row in rows if row["split"] == split)
            for split in splits
        },
        by_camera=_count(row["camera"] for row in rows),
        by_size=_count(f"{row['width']}x{row['height']}" for row in rows),
        by_depth=_count(_what(row, LiDAR=LIDAR, exact=EXACT) for row in rows),
        by_neighbours=_count(_what(row, **NEIGHBOURS) for row in rows),
    )


def _rows(manifest: Manifest, entry: Entry) -> Iterator[Row]:
    reader = manifest.reader(entry.rows)
    for index in range(len(entry.rows.row_groups)):
        table = reader.group(index, COLUMNS).flatten()
        yield from table.to_pylist()


def _what(row: Row, **columns: str) -> str:
    """Names of the columns that hold something, "none" where none does."""
    return " and ".join(name for name, column in columns.items() if row[column]) or "none"


def _count(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))
