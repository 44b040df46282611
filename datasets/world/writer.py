"""Write a world of many scenes in the layout of nuScenes."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets.errors import Refused
from datasets.world.folder import SUMS, Folder, new_folder
from datasets.world.records import ScenePlan, write_scene
from datasets.world.rig import CAMERAS
from datasets.world.schedule import Sweeps, shots
from datasets.world.tables import Record, new_tables

VERSION = "v1.0-world"
VAL_EVERY = 5  # every fifth scene is for validation
MIN_SIDE_PX = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldReport:
    """What a world holds."""

    num_scenes: int
    num_keyframes: int
    num_images: int
    num_lidar_sweeps: int
    num_annotations: int
    num_files: int  # SHA256SUMS included
    num_bytes: int  # SHA256SUMS not counted


def write_world(
    out: Path,
    *,
    scenes: int,
    frames: int,
    seed: int,
    size: tuple[int, int] = (448, 256),
    cameras: Sequence[str] = ("CAM_FRONT",),
    sweeps: Sweeps = "neighbours",
    progress: Callable[[int, int], None] | None = None,
) -> WorldReport:
    """Render `scenes` clear streets of `frames` keyframes each, (width, height) pixels, to `out`.

    The bytes of scene k depend on the other arguments, never on how many scenes there are.
    `progress` gets (images done, images in all). Raises Refused for arguments out of range and
    for a folder that is not empty, DiskFull; a run that fails leaves nothing at `out`.
    """
    out = Path(out)
    _check(scenes, frames, size, cameras, sweeps)
    plans = [
        ScenePlan(
            seed=seed,
            index=k,
            num_keyframes=frames,
            size=(int(size[0]), int(size[1])),
            cameras=tuple(cameras),
            sweeps=sweeps,
        )
        for k in range(scenes)
    ]
    total = scenes * sum(len(list(shots(0, camera, frames, sweeps))) for camera in cameras)
    count = _Counter(total, progress)
    with new_folder(out) as folder:
        tables = new_tables(tuple(cameras))
        for plan in plans:
            write_scene(folder, tables, plan, count)
        _write_tables(folder, tables, plans)
    return WorldReport(
        num_scenes=scenes,
        num_keyframes=len(tables["sample"]),
        num_images=count.done,
        num_lidar_sweeps=len(tables["sample"]),
        num_annotations=len(tables["sample_annotation"]),
        num_files=len(folder.digests) + 1,
        num_bytes=folder.num_bytes,
    )


def split_of(scene: int, scenes: int) -> str:
    """Which split a scene is in: every fifth one for validation, where there are five."""
    return "val" if scenes >= VAL_EVERY and scene % VAL_EVERY == VAL_EVERY - 1 else "train"


class _Counter:
    """Counts images and tells whoever listens."""

    def __init__(self, total: int, progress: Callable[[int, int], None] | None) -> None:
        self.done, self.total, self._progress = 0, total, progress

    def __call__(self) -> None:
        self.done += 1
        if self._progress is not None:
            self._progress(self.done, self.total)


def _write_tables(
    folder: Folder, tables: dict[str, list[Record]], plans: Sequence[ScenePlan]
) -> None:
    splits = {
        split: [p.name for p in plans if split_of(p.index, len(plans)) == split]
        for split in ("train", "val")
    }
    for name, content in {**tables, "splits": splits}.items():
        folder.write(f"{VERSION}/{name}.json", json.dumps(content, indent=0).encode())


def _check(
    scenes: int, frames: int, size: tuple[int, int], cameras: Sequence[str], sweeps: str
) -> None:
    if scenes < 1 or frames < 1:
        raise Refused(f"{scenes} scenes of {frames} frames make no world: ask for one or more")
    if min(size) < MIN_SIDE_PX:
        raise Refused(f"size {size} is too small: each side needs at least {MIN_SIDE_PX} pixels")
    unknown = [camera for camera in cameras if camera not in CAMERAS]
    if unknown or not cameras or len(set(cameras)) < len(cameras):
        known = ", ".join(CAMERAS)
        raise Refused(f"cameras {list(cameras)}: name one or more of {known}, each once")
    if sweeps not in ("neighbours", "all"):
        raise Refused(f"sweeps {sweeps!r}: expected 'neighbours' or 'all'")


__all__ = ["SUMS", "VERSION", "WorldReport", "split_of", "write_world"]
