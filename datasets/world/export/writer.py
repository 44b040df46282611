"""Write a world of many scenes in the layout of nuScenes."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.world.export.folder import Folder, new_folder
from nightrain.datasets.world.export.nuscenes_tables import new_tables
from nightrain.datasets.world.export.plan import (
    TRUTHS,
    Recording,
    ScenePlan,
    SceneSpec,
    Truth,
    clear_places,
)
from nightrain.datasets.world.export.recorder import Tables, camera_shots
from nightrain.datasets.world.export.workers import render_scenes
from nightrain.datasets.world.sensors.rig import CAMERAS, STEREO_OF
from nightrain.datasets.world.sensors.schedule import Sweeps, turns

VERSION = "v1.0-world"
SPLITS = ("train", "val")
MIN_SIDE_PX = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldReport:
    """Contents of a rendered world."""

    num_scenes: int
    num_keyframes: int
    num_images: int
    num_lidar_sweeps: int
    num_annotations: int
    num_files: int  # SHA256SUMS included
    num_bytes: int  # SHA256SUMS not counted
    scenes_by_condition: dict[Condition, int]


def write_world(
    out: Path,
    *,
    scenes: int | Sequence[SceneSpec],
    frames: int,
    seed: int,
    size: tuple[int, int] = (448, 256),
    cameras: Sequence[str] = ("CAM_FRONT",),
    sweeps: Sweeps = "neighbours",
    stereo: bool = False,
    lidar_sweeps: bool = False,
    truth: Sequence[Truth] = TRUTHS,
    processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> WorldReport:
    """Render scenes of `frames` keyframes each, (width, height) pixels, to `out`.

    `scenes` are places with their conditions, or a number of places on a clear day. The bytes of a
    scene depend on its place and condition, the seed and the recording settings, not on the other
    scenes or on the number of `processes`. `progress` receives (finished images, total images).
    Raises InvalidRequest for arguments out of range and for a folder that is not empty, DiskFull,
    and NightrainError where a process is killed; a failed run leaves nothing at `out`.
    """
    out = Path(out)
    specs = clear_places(scenes) if isinstance(scenes, int) else tuple(scenes)
    recording = Recording(
        num_keyframes=frames,
        size=(int(size[0]), int(size[1])),
        cameras=tuple(cameras),
        sweeps=sweeps,
        stereo=stereo,
        lidar_sweeps=lidar_sweeps,
        truth=tuple(truth),
    )
    _check(specs, recording)
    plans = _plans(seed, specs, recording)
    total = _num_images(plans)
    tables = new_tables(tuple(camera_shots(plans[0])))
    with new_folder(out) as folder:
        for part in render_scenes(folder, plans, processes, _whole(total, progress)):
            for name, found in part.items():
                tables[name] += found
        _write_tables(folder, tables, plans)
    return WorldReport(
        num_scenes=len(plans),
        num_keyframes=len(tables["sample"]),
        num_images=total,
        num_lidar_sweeps=len(plans) * len(list(turns(0, frames, lidar_sweeps))),
        num_annotations=len(tables["sample_annotation"]),
        num_files=len(folder.digests) + 1,
        num_bytes=folder.num_bytes,
        scenes_by_condition=dict(Counter(plan.spec.condition for plan in plans)),
    )


def _plans(seed: int, specs: Sequence[SceneSpec], recording: Recording) -> list[ScenePlan]:
    seen: set[int] = set()
    plans = []
    for spec in specs:
        with_map = spec.place not in seen
        plans.append(ScenePlan(seed=seed, spec=spec, recording=recording, with_map=with_map))
        seen.add(spec.place)
    return plans


def _num_images(plans: Sequence[ScenePlan]) -> int:
    return len(plans) * sum(len(shots) for shots in camera_shots(plans[0]).values())


def _whole(total: int, progress: Callable[[int, int], None] | None) -> Callable[[int], None]:
    """Report finished and total images, when the number has changed."""
    last = 0

    def tell(done: int) -> None:
        nonlocal last
        if progress is not None and done > last:
            last = done
            progress(done, total)

    return tell


def _write_tables(folder: Folder, tables: Tables, plans: Sequence[ScenePlan]) -> None:
    splits = {split: [p.name for p in plans if p.spec.split == split] for split in SPLITS}
    for name, content in {**tables, "splits": splits}.items():
        folder.write(f"{VERSION}/{name}.json", json.dumps(content, indent=0).encode())


def _check(specs: Sequence[SceneSpec], recording: Recording) -> None:
    frames, size = recording.num_keyframes, recording.size
    if not specs or frames < 1:
        raise InvalidRequest(
            f"{len(specs)} scenes of {frames} frames form no world: ask for at least one of each"
        )
    if min(size) < MIN_SIDE_PX:
        raise InvalidRequest(
            f"size {size} is too small: each side needs at least {MIN_SIDE_PX} pixels"
        )
    _check_cameras(recording)
    if recording.sweeps not in get_args(Sweeps):
        raise InvalidRequest(f"sweeps {recording.sweeps!r}: expected 'neighbours' or 'all'")
    if unknown := set(recording.truth) - set(TRUTHS):
        raise InvalidRequest(f"truth {sorted(unknown)}: choose among {', '.join(TRUTHS)}")
    _check_scenes(specs)


def _check_cameras(recording: Recording) -> None:
    cameras = recording.cameras
    unknown = [camera for camera in cameras if camera not in CAMERAS]
    if unknown or not cameras or len(set(cameras)) < len(cameras):
        known = ", ".join(CAMERAS)
        raise InvalidRequest(f"cameras {list(cameras)}: name one or more of {known}, each once")
    if recording.stereo and not set(cameras) & set(STEREO_OF):
        having = ", ".join(STEREO_OF)
        raise InvalidRequest(f"cameras {list(cameras)} have no stereo partner: add {having}")


def _check_scenes(specs: Sequence[SceneSpec]) -> None:
    """Require scenes that differ in place or condition, with one split per place."""
    twice = [s for s, n in Counter((s.place, s.condition) for s in specs).items() if n > 1]
    if twice or min(s.place for s in specs) < 0:
        place, condition = twice[0] if twice else (min(s.place for s in specs), "")
        raise InvalidRequest(
            f"place {place} {condition}: name each place from 0 on once per condition"
        )
    split_of: dict[int, str] = {}
    for spec in specs:
        if spec.split not in SPLITS or split_of.setdefault(spec.place, spec.split) != spec.split:
            raise InvalidRequest(
                f"place {spec.place} is in {split_of.get(spec.place)!r} and in {spec.split!r}; "
                f"all scenes of a place belong to one of {', '.join(SPLITS)}"
            )
