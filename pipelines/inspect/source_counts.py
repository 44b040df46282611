"""Source statistics: counts of each source's committed frames, from scalar columns."""

from collections.abc import Sequence

from pydantic import BaseModel

from nightrain.datasets.protocols.leakage import scenes_of
from nightrain.datasets.shards.frame_plan import bad_frames
from nightrain.datasets.shards.manifest import Entry, Manifest
from nightrain.pipelines.inspect.columns import ScalarColumns

NEIGHBOURS = {"t-1": "previous_id", "t+1": "next_id", "stereo": "stereo_id"}
DEPTHS = {"LiDAR": "lidar_depth.path", "exact": "exact_depth.path"}  # the path, not the image


class SourceStats(BaseModel):
    """Committed frames of one source: counts by value, largest first."""

    num_frames: int
    num_quarantined: int  # currently, without frames that a retry could read
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
    rows = ScalarColumns(manifest, entries)
    by_split = _largest_first(rows.counts("split"))
    return SourceStats(
        num_frames=rows.num_rows,
        num_quarantined=len(bad_frames(manifest.root, source)),
        num_scenes=rows.num_distinct("scene_id"),
        num_logs=len({scene.drive for entry in entries for scene in scenes_of(manifest, entry)}),
        by_split=by_split,
        by_condition=_largest_first(rows.counts("condition")),
        by_split_and_condition={
            split: _largest_first(rows.counts("condition", split=split))
            for split in sorted(by_split)
        },
        by_camera=_largest_first(rows.counts("camera")),
        by_size=_largest_first(rows.counts("width || 'x' || height")),
        by_depth=_largest_first(rows.counts(_present(DEPTHS))),
        by_neighbours=_largest_first(rows.counts(_present(NEIGHBOURS))),
    )


def _present(columns: dict[str, str]) -> str:
    """SQL expression for the names of the columns that are not empty, or "none"."""
    names = ", ".join(f"CASE WHEN {column} <> '' THEN '{n}' END" for n, column in columns.items())
    return f"coalesce(nullif(concat_ws(' and ', {names}), ''), 'none')"


def _largest_first(counts: dict[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
