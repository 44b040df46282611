"""Layout `kitti`: the tree of KITTI's depth benchmark, with a drive of its own for each variant.

    train/2026_01_31_drive_0007_sync/
      image_02/data/0000000005.jpg
      proj_depth/groundtruth/image_02/0000000005.png
      proj_depth/velodyne_raw/image_02/0000000005.png
      calib_cam_to_cam.txt

A drive holds one camera of one scene under one condition; its frames are numbered by time.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

from nightrain.datasets.splits import check_split
from nightrain.pipelines.export.layout import Names, TreeLayout
from nightrain.pipelines.export.selection import ExportRow, ExportSelection

CALIBRATION = "calib_cam_to_cam.txt"


class Drive(NamedTuple):
    """What the frames of a drive have in common, in the order of their numbers."""

    split: str
    scene_id: str
    camera: str
    variants: tuple[str, str, int]  # condition, folder and number of the variants; "" of frames
    size: tuple[int, int]
    intrinsics: tuple[float, ...]


class KittiLayout(TreeLayout):
    """Drives and numbers of frames, decided by the whole selection."""

    def __init__(self, selection: ExportSelection) -> None:
        times: dict[Drive, list[tuple[int, str]]] = {}
        for facts in _facts(selection):
            key = facts.get("sample_id") or facts["frame_id"]
            times.setdefault(_drive(facts), []).append((facts["timestamp_us"] or 0, key))
        self._place: dict[str, tuple[str, int]] = {}
        for number, drive in enumerate(sorted(times)):
            frames = sorted(times[drive])
            date = datetime.fromtimestamp(frames[0][0] / 1e6, UTC).strftime("%Y_%m_%d")
            folder = f"{drive.split}/{date}_drive_{number:04d}_sync"
            for index, (_, key) in enumerate(frames):
                self._place[key] = folder, index

    def names(self, row: ExportRow) -> Names:
        """Name of the file of each payload."""
        folder, index = self._place[row.key]
        return {
            "image": f"{folder}/image_02/data/{index:010d}.jpg",
            "depth": f"{folder}/proj_depth/groundtruth/image_02/{index:010d}.png",
            "velodyne": f"{folder}/proj_depth/velodyne_raw/image_02/{index:010d}.png",
        }

    def texts(self, row: ExportRow) -> Mapping[str, str]:
        """Calibration of the drive, in pixels of its images."""
        folder, _ = self._place[row.key]
        camera = np.hstack([np.reshape(row.facts["intrinsics"], (3, 3)), np.zeros((3, 1))])
        size = f"S_rect_02: {row.facts['width']:.6e} {row.facts['height']:.6e}\n"
        matrix = " ".join(f"{value:.6e}" for value in camera.ravel())
        return {f"{folder}/{CALIBRATION}": f"{size}P_rect_02: {matrix}\n"}


def _facts(selection: ExportSelection) -> Iterator[dict[str, Any]]:
    columns = (
        *("sample_id", "frame_id", "split", "scene_id", "camera", "timestamp_us", "condition"),
        *("recipe", "variant_index", "width", "height", "intrinsics"),
    )
    for group in selection.groups:
        for part in group.shown:
            yield from part.facts.select(
                [name for name in columns if name in part.facts.column_names]
            ).to_pylist()


def _drive(facts: Mapping[str, Any]) -> Drive:
    check_split(facts["split"])  # it names a folder
    is_variant = "sample_id" in facts
    folder, index = (facts["recipe"], facts["variant_index"] or 0) if is_variant else ("", 0)
    return Drive(
        split=facts["split"],
        scene_id=facts["scene_id"] or "",
        camera=facts["camera"] or "",
        variants=(facts["condition"], folder, index),
        size=(facts["width"], facts["height"]),
        intrinsics=tuple(facts["intrinsics"]),
    )
