"""Control map shards: controls/<source>/NNNNN.parquet holds a map per row of frames/NNNNN.

The next images are decoded and the last maps encoded while the network runs. A frame without a map
is quarantined with the reason, and keeps its place as a row without one.
"""

import hashlib
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from nightrain.datasets.errors import DamagedInput, NightrainError, PlanMismatch, Reason
from nightrain.datasets.io.images import decode_depth_png, decode_jpeg
from nightrain.datasets.shards.control_maps import ControlMap, map_to_row
from nightrain.datasets.shards.manifest import CONTROLS, Entry, Manifest, Shard
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.shards.schema import CONTROLS as COLUMNS
from nightrain.datasets.shards.schema import ORIGIN_COLUMNS, SCHEMA_VERSION
from nightrain.datasets.shards.transaction import (
    OnRows,
    Rejected,
    ShardReport,
    frames_behind,
    ignore_rows,
    make_shard,
    rejected_frame,
)
from nightrain.pipelines.controls.depth_source import (
    DepthSource,
    RelativeDepth,
    depths_of,
    image_windows,
)
from nightrain.pipelines.controls.load_source import load_depth_source
from nightrain.pipelines.controls.polarity import assert_near_is_white, near_is_white_lead
from nightrain.pipelines.controls.settings import ControlDepth
from nightrain.pipelines.runs import stop as stopping
from nightrain.pipelines.runs.batches import ENGINE_FAULTS, in_batches, isolate_failures
from nightrain.pipelines.runs.builds import IMAGE_LIBRARIES, builds_of
from nightrain.pipelines.runs.device_lock import sole_use
from nightrain.pipelines.runs.devices import gpu_id
from nightrain.pipelines.runs.overlap import overlapped
from nightrain.pipelines.runs.stop import interrupt_if_stopped

MAPS_VERSION = "1"  # increased when the same source and image give another map
BATCH_SIZE = 16  # frames
FRAME_COLUMNS = ("frame_id", *ORIGIN_COLUMNS, "image", "width", "height", "licence", "attribution")
_HELD: dict[tuple[str, str], RelativeDepth] = {}  # by source and frame id


def control_maps_table(settings: ControlDepth) -> str:
    """Table of a source's maps: "controls/dpt-large-1a2b3c4d"; raises InvalidRequest."""
    name = load_depth_source(settings).name
    stem = (
        settings.network.id_or_folder if settings.network else settings.teacher or settings.source
    )
    slug = re.sub(r"[^a-z0-9]+", "-", Path(stem).name.lower()).strip("-") or settings.source
    tiles = f"-{(2 * settings.tile_grid - 1) ** 2}-tiles" if settings.tile_grid > 1 else ""
    digest = hashlib.sha256(f"{name}\n{MAPS_VERSION}".encode()).hexdigest()[:8]
    return f"{CONTROLS}/{slug}{tiles}-{digest}"


def make_maps(
    source: DepthSource,
    images: Sequence[np.ndarray],
    lidar_depths_m: Sequence[np.ndarray | None] | None = None,
) -> list[ControlMap | DamagedInput]:
    """Map or failure of each image (H, W, 3) uint8, at the image's own size.

    `lidar_depths_m` (H, W) each, 0 = no return, are for the completion network.
    A map with the road farther than the horizon is a failure. A batch that runs out of memory is
    halved. Raises InvalidRequest, and RunFailure if the device is lost or all images fail alike.
    """
    return [_checked(outcome) for outcome in depth_of_each(source, images, lidar_depths_m)]


def depth_of_each(
    source: DepthSource,
    images: Sequence[np.ndarray],
    lidar_depths_m: Sequence[np.ndarray | None] | None = None,
) -> list[RelativeDepth | Exception]:
    """Depth or failure of each image (H, W, 3) uint8; raises like `make_maps`."""
    scenes = image_windows(images, lidar_depths_m)
    return isolate_failures(scenes, lambda some: depths_of(source, some), origin=id)


def _checked(outcome: RelativeDepth | Exception) -> ControlMap | DamagedInput:
    """Return the map of an outcome, or the reason why there is none."""
    if isinstance(outcome, DamagedInput):
        return outcome
    if isinstance(outcome, Exception):
        return DamagedInput(Reason.ENGINE_ERROR, f"{type(outcome).__name__}: {outcome}")
    try:
        assert_near_is_white(outcome.inverse_depth, road_in_view=False)
    except DamagedInput as error:
        return error
    return ControlMap(inverse_depth=outcome.inverse_depth, is_metric=outcome.is_metric)


@dataclass(frozen=True, slots=True)
class _Part:
    """Batch of rows of frames, with their images and then their maps."""

    rows: Sequence[Row]
    kept: Sequence[Row | None]  # rows that an interrupted run finished
    images: Sequence[np.ndarray | DamagedInput | None]  # None: not needed
    lidar_m: Sequence[np.ndarray | None]  # None: not needed, or none
    maps: Sequence[ControlMap | DamagedInput | None] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class ControlMapShard:
    """Makes the control maps of one shard of frames; picklable work for an executor."""

    root: Path
    settings: ControlDepth

    def __call__(self, shard: Shard, on_rows: OnRows = ignore_rows) -> ShardReport:
        """Make the shard, with the GPU locked.

        Raises PlanMismatch if the table belongs to another source, InvalidRequest without weights,
        RunFailure for an error that all frames meet, NightrainError if none gets a map,
        CorruptShard, DiskFull.
        """
        manifest = Manifest(self.root)
        frames = frames_behind(manifest, shard, retry=shard.retry)
        if control_maps_table(self.settings) != shard.table:
            raise PlanMismatch(
                f"{shard.table} was planned for other weights than those that are loaded now. Run "
                "`nightrain controls` again to make the maps of the current ones."
            )
        with sole_use(gpu_id(), give_up=lambda: stopping.current().interrupted) as held:
            if not held:
                return ShardReport(shard=shard, status="stopped")
            return make_shard(
                manifest,
                shard,
                COLUMNS,
                self._about(frames),
                lambda kept: self._rows(manifest, frames, kept),
                on_rows,
            )

    def _about(self, frames: Entry) -> dict[str, str]:
        return {
            "depth_source": load_depth_source(self.settings).name,
            "split": frames.about.get("split", "none"),
            "condition": frames.about.get("condition", "clear"),
            "frames_sha256": frames.rows.keys_sha256,
            "frames_file_sha256": frames.rows.sha256,
        }

    def _rows(
        self, manifest: Manifest, frames: Entry, kept: dict[str, Row]
    ) -> Iterator[Row | Rejected]:
        """Yield a row per frame, in order; a frame without a map is rejected and keeps its place.

        Raises NightrainError if the network fails on every frame. A single frame that fails may be
        at fault itself.
        """
        faults: list[DamagedInput] = []
        num_maps = 0
        parts = overlapped(
            in_batches(manifest.reader(frames.rows).rows(frame_columns(self.settings)), BATCH_SIZE),
            prepare=lambda rows: self._decoded(rows, kept),
            begin=self._predicted,
            finish=lambda part: part,
            complete=self._completed,
        )
        with closing(parts):
            for part in parts:
                for row, result in part:
                    if isinstance(result, DamagedInput):
                        faults += [result] if result.reason in ENGINE_FAULTS else []
                        yield rejected_frame(row, result.reason, result)
                        yield self._empty_row(row)
                    else:
                        num_maps += 1
                        yield result
        if len(faults) > 1 and not num_maps:
            raise NightrainError(
                f"{load_depth_source(self.settings).name} made a map of none of the "
                f"{len(faults)} frames, so nothing was committed. The first failure: {faults[0]}"
            )

    def _decoded(self, rows: Sequence[Row], kept: dict[str, Row]) -> _Part:
        before = [kept.get(row["frame_id"]) for row in rows]
        before = [row if row and row["inverse_depth"] is not None else None for row in before]
        decoded = [
            (None, None) if b else _decoded(row) for row, b in zip(rows, before, strict=True)
        ]
        images, lidar_m = zip(*decoded, strict=True)
        return _Part(rows, before, images, lidar_m)

    def _predicted(self, part: _Part) -> _Part:
        interrupt_if_stopped()
        started = time.perf_counter()
        maps: list[ControlMap | DamagedInput | None] = []
        for row, image in zip(part.rows, part.images, strict=True):
            held = taken(self.settings, row["frame_id"])
            found = None if held is None or image is None else _checked(held)
            maps.append(image if isinstance(image, DamagedInput) else found)
        images = {
            number: image
            for number, image in enumerate(part.images)
            if isinstance(image, np.ndarray) and maps[number] is None
        }
        lidar_m = [part.lidar_m[number] for number in images]
        made = make_maps(load_depth_source(self.settings), list(images.values()), lidar_m)
        for number, new in zip(images, made, strict=True):
            maps[number] = new
        seconds = (time.perf_counter() - started) / max(1, len(images))
        return replace(part, maps=maps, seconds=seconds)

    def _completed(self, part: _Part) -> list[tuple[Row, Row | DamagedInput]]:
        results: list[tuple[Row, Row | DamagedInput]] = []
        for row, before, found in zip(part.rows, part.kept, part.maps, strict=True):
            if before is not None:
                results.append((row, before))
            elif isinstance(found, DamagedInput):
                results.append((row, found))
            elif found is not None:
                results.append((row, self._row(row, found, part.seconds)))
        return results

    def _row(self, row: Row, found: ControlMap, seconds: float) -> Row:
        return {
            **self._empty_row(row),
            **map_to_row(found, row["frame_id"]),
            "road_lead": near_is_white_lead(found.inverse_depth),
            "gen_seconds": seconds,
        }

    def _empty_row(self, row: Row) -> Row:
        """Return a row without a map, the placeholder of a frame that failed."""
        copied = ("frame_id", *ORIGIN_COLUMNS, "width", "height", "licence", "attribution")
        return {
            **{name: row[name] for name in copied},
            "inverse_depth": None,
            "farthest": None,
            "nearest": None,
            "is_metric": None,
            "road_lead": None,
            "depth_source": load_depth_source(self.settings).name,
            "builds": builds_of((*IMAGE_LIBRARIES, "torch", "transformers")),
            "device": "cuda" if gpu_id() else "cpu",
            "created_at": datetime.now(UTC),
            "gen_seconds": 0.0,
            "schema_version": SCHEMA_VERSION,
        }


def frame_columns(settings: ControlDepth) -> tuple[str, ...]:
    """Columns of frames that a source's maps are made from."""
    return (*FRAME_COLUMNS, *(("lidar_depth",) if settings.source == "completed" else ()))


def lidar_of(row: Row) -> np.ndarray | None:
    """LiDAR depth (H, W) of a row of frames in metres, 0 = no return; None if it was not read."""
    return decode_depth_png(row["lidar_depth"]["bytes"]) if row.get("lidar_depth") else None


def hold(settings: ControlDepth, frame_id: str, found: RelativeDepth) -> None:
    """Hold a map that was made before its shard, for the polarity check."""
    _HELD[load_depth_source(settings).name, frame_id] = found


def taken(settings: ControlDepth, frame_id: str) -> RelativeDepth | None:
    """Return a held map and forget it; None without one."""
    return _HELD.pop((load_depth_source(settings).name, frame_id), None)


def forget_held() -> None:
    """Forget the held maps that no shard took."""
    _HELD.clear()


def _decoded(row: Row) -> tuple[np.ndarray | DamagedInput, np.ndarray | None]:
    """Image and LiDAR depth of a row; the reason in place of the image if either is damaged."""
    try:
        return decode_jpeg(row["image"]["bytes"]), lidar_of(row)
    except DamagedInput as error:
        return error, None
