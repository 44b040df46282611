"""Write a world of many scenes in the layout of nuScenes, scene by scene."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import get_args

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest, NightrainError
from nightrain.datasets.io.regular import matching
from nightrain.datasets.sources.nuscenes.config import WORLD_VERSION as VERSION
from nightrain.datasets.world.export.nuscenes_tables import new_tables
from nightrain.datasets.world.export.plan import (
    TRUTHS,
    Recording,
    ScenePlan,
    SceneSpec,
    Truth,
    clear_places,
)
from nightrain.datasets.world.export.recorder import (
    Tables,
    camera_shots,
    sensor_files,
    write_map,
)
from nightrain.datasets.world.export.workers import render_scenes
from nightrain.datasets.world.export.world_folder import (
    FailedScene,
    SceneRecord,
    WorldFolder,
    open_world,
)
from nightrain.datasets.world.sensors.rig import CAMERAS, STEREO_OF
from nightrain.datasets.world.sensors.schedule import RecordedSweeps

__all__ = ["VERSION", "FailedScene", "WorldReport", "write_world"]
SPLITS = ("train", "val", "test")
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
    failed: tuple[FailedScene, ...] = ()  # scenes that are missing
    num_scenes_before: int = 0  # scenes that an earlier run rendered


def write_world(
    out: Path,
    *,
    scenes: int | Sequence[SceneSpec],
    frames: int,
    seed: int,
    size: tuple[int, int] = (448, 256),
    cameras: Sequence[str] = ("CAM_FRONT",),
    sweeps: RecordedSweeps = "neighbours",
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
    Scenes are committed one by one: after an interruption the same call resumes, and renders again
    what has failed. Raises InvalidRequest for arguments out of range and for a folder that holds
    anything else, DiskFull, and NightrainError where a process is killed or every scene fails.
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
    description = _description(seed, specs, recording)
    with open_world(out, description, partial(_is_finished, plans)) as world:
        if _is_finished(plans, world):  # also if its folder was not removed
            failed, before = [], len(plans)
        else:
            before = sum(world.is_committed(plan.name) for plan in plans)
            failed = _complete(world, plans, processes, progress)
        world.close(failed)
        return _report(world, plans, failed, before)


def _is_finished(plans: Sequence[ScenePlan], world: WorldFolder) -> bool:
    """Whether the tables list the scenes and files of these plans, and no others."""
    scenes = [record["token"] for record in world.table("scene")]
    if scenes != [plan.token("scene") for plan in plans]:
        return False
    recording, found = plans[0].recording, world.table("sample_data")
    kinds = {path.name for path in matching(world.out / "truth", "*")}
    sizes = {(r["width"], r["height"]) for r in found if r["fileformat"] == "jpg"}
    files = {path for plan in plans for path in sensor_files(plan)}
    return (
        {record["filename"] for record in found} == files
        and sizes == {recording.size}
        and kinds == set(recording.truth)
    )


def _complete(
    world: WorldFolder,
    plans: Sequence[ScenePlan],
    processes: int,
    progress: Callable[[int, int], None] | None,
) -> list[FailedScene]:
    """Render the missing scenes, and write the tables; return the scenes that failed."""
    missing = [plan for plan in plans if not world.is_committed(plan.name)]
    before, total = _num_images(plans) - _num_images(missing), _num_images(plans)
    on_image = _whole(before, total, progress)
    failed = render_scenes(world, missing, processes, on_image)
    done = [plan for plan in plans if world.is_committed(plan.name)]
    if not done:
        world.close(failed)
        raise NightrainError(
            f"No scene could be rendered: {failed[0].name} ended in {failed[0].error} "
            f"({failed[0].where}), {len(failed)} in all; {world.out} lists them."
        )
    if [record["name"] for record in world.table("scene")] != [plan.name for plan in done]:
        records = _records(world, done)
        world.finish(_tables(records, done), records)
    return failed


def _records(world: WorldFolder, done: Sequence[ScenePlan]) -> dict[str, SceneRecord]:
    """Records of the committed scenes, and of the maps of places whose first scene failed."""
    records = {plan.name: world.record(plan.name) for plan in done}
    with_map = {plan.place for plan in done if records[plan.name].tables["map"]}
    for plan in done:
        if plan.place not in with_map:
            with_map.add(plan.place)
            name = f"map-{plan.place:04d}"
            if not world.is_committed(name):
                world.commit(name, lambda folder, plan=plan: write_map(folder, plan))
            records[name] = world.record(name)
    return records


def _tables(records: Mapping[str, SceneRecord], done: Sequence[ScenePlan]) -> dict[str, object]:
    tables: Tables = new_tables(tuple(camera_shots(done[0])))
    for record in records.values():
        for name, found in record.tables.items():
            tables[name] += found
    splits = {split: [p.name for p in done if p.spec.split == split] for split in SPLITS}
    return {**tables, "splits": splits}


def _report(
    world: WorldFolder, plans: Sequence[ScenePlan], failed: Sequence[FailedScene], before: int
) -> WorldReport:
    missing = {scene.name for scene in failed}
    done = [plan for plan in plans if plan.name not in missing]
    formats = Counter(record["fileformat"] for record in world.table("sample_data"))
    num_files, num_bytes = world.num_bytes()
    return WorldReport(
        num_scenes=len(done),
        num_keyframes=len(world.table("sample")),
        num_images=formats["jpg"],
        num_lidar_sweeps=formats["pcd"],
        num_annotations=len(world.table("sample_annotation")),
        num_files=num_files + 1,
        num_bytes=num_bytes,
        scenes_by_condition=dict(Counter(plan.spec.condition for plan in done)),
        failed=tuple(failed),
        num_scenes_before=before,
    )


def _description(seed: int, specs: Sequence[SceneSpec], recording: Recording) -> dict[str, object]:
    """Everything that determines the bytes of a world, as JSON reads it back."""
    fields = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(recording).items()}
    scenes = [[spec.place, str(spec.condition), spec.split] for spec in specs]
    return {"seed": seed, **fields, "scenes": scenes}


def _plans(seed: int, specs: Sequence[SceneSpec], recording: Recording) -> list[ScenePlan]:
    seen: set[int] = set()
    plans = []
    for spec in specs:
        with_map = spec.place not in seen
        plans.append(ScenePlan(seed=seed, spec=spec, recording=recording, with_map=with_map))
        seen.add(spec.place)
    return plans


def _num_images(plans: Sequence[ScenePlan]) -> int:
    return sum(len(shots) for plan in plans for shots in camera_shots(plan).values())


def _whole(
    before: int, total: int, progress: Callable[[int, int], None] | None
) -> Callable[[int], None]:
    """Report finished and total images, when the number has changed."""
    last = 0
    if progress is not None and before:
        progress(before, total)

    def tell(done: int) -> None:
        nonlocal last
        if progress is not None and done > last:
            last = done
            progress(before + done, total)

    return tell


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
    if recording.sweeps not in (known := get_args(RecordedSweeps)):
        raise InvalidRequest(f"sweeps {recording.sweeps!r}: expected one of {', '.join(known)}")
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
