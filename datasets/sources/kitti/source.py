"""KITTI source: raw drives (Geiger et al. 2013) and KITTI-depth (Uhrig et al. 2017)."""

from collections.abc import Sequence

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import BrokenSource, DamagedInput, Reason
from nightrain.datasets.frame import Frame, FrameRef, Neighbour
from nightrain.datasets.geometry.crops import Crop, kb_crop
from nightrain.datasets.geometry.projection import invert_rigid
from nightrain.datasets.ids import frame_id
from nightrain.datasets.io.images import JpegImage
from nightrain.datasets.io.untrusted import Files
from nightrain.datasets.sources.base import FrameSource
from nightrain.datasets.sources.kitti.calibration import (
    Calibration,
    CameraCalibration,
    read_calibration,
)
from nightrain.datasets.sources.kitti.config import KittiConfig
from nightrain.datasets.sources.kitti.drives import (
    FrameName,
    find_image,
    nominal_time_us,
    read_timestamps,
)
from nightrain.datasets.sources.kitti.files import read_depth_map, read_image, scan_depth_m
from nightrain.datasets.sources.kitti.index import notes, read_index
from nightrain.datasets.sources.kitti.oxts import ImuPoses
from nightrain.datasets.sources.kitti.splits import EigenCounts
from nightrain.datasets.sources.point_cloud import EMPTY_SWEEP
from nightrain.datasets.splits import NO_SPLIT, check_split, is_in_split, other_splits

STEREO_PARTNER = {
    "image_00": "image_01",
    "image_01": "image_00",
    "image_02": "image_03",
    "image_03": "image_02",
}


class KittiSource(FrameSource):
    """Frames of KITTI's synchronised drives.

    Layout "raw" lists the images below <date>/<drive>; "depth" lists the frames with a KITTI-depth
    map below {train,val}/<drive>, next to the raw drives. LiDAR depth is the projected scan (in
    layout "depth": velodyne_raw), or KITTI-depth's "improved" ground truth. Splits come from
    `split_files`, a folder of lists (see splits.py); without it, from the parts of the depth
    layout; otherwise they are "none". All of KITTI was recorded on clear days.

    World: x east, y north, z up, with its origin at a drive's first OXTS packet. A drive without
    OXTS has no poses: T_world_camera is then the identity, the description says so, and there are
    no neighbours. With `stereo`, a frame carries the other image of its rectified pair. With
    `kb_crop`, everything is cropped to 352 x 1216 (see crops.py).

    Images, frames or calibrations that are named but missing raise BrokenSource; with `skip_bad`
    they stay listed, and `load` raises DamagedInput.
    """

    name = "kitti"
    licence = "CC-BY-NC-SA-3.0"
    attribution = (
        "KITTI Vision Benchmark Suite, https://www.cvlibs.net/datasets/kitti, CC BY-NC-SA 3.0; "
        "Geiger, Lenz, Stiller, Urtasun, IJRR 2013."
    )

    def __init__(self, config: KittiConfig) -> None:
        self.config = config
        self._from_maps = config.layout == "depth" or config.ground_truth == "improved"
        self._files = Files.below(config.root, config.links)
        self._index = read_index(self._files, config)
        self._calibrations = {
            date: self._read_calibration(date) for date in {n.date for n in self._index.frames}
        }
        self._poses = ImuPoses(self._files)
        self._times = dict(self._index.times)
        self.notes = notes(self._files, self._index, config.ground_truth)
        self.eigen_counts: EigenCounts | None = self._index.eigen_counts(config.ground_truth)
        if not config.skip_bad:
            self._refuse_problems()

    def __reduce__(self) -> tuple[type["KittiSource"], tuple[KittiConfig]]:
        return KittiSource, (self.config,)  # a worker process gets the options, not the listing

    def select(self, split: str) -> Sequence[FrameRef]:
        """Frames by drive, number and camera; raises InvalidRequest for an unknown split.

        "all" is every frame on disk; frames in no list have the split "none". With improved ground
        truth, listed frames that lack it are left out.
        """
        check_split(split)
        refs = [self._ref(name) for name in self._index.frames]
        self.left_out = other_splits((ref.split for ref in refs), split)
        return [ref for ref in refs if is_in_split(ref.split, split)]

    def load(self, ref: FrameRef) -> Frame:
        """Read one frame with its LiDAR depth and neighbours; raises DamagedInput."""
        name = FrameName.parse(ref.source_id)
        if name in self._index.absent:
            raise _missing(name, self._index.absent[name])
        camera, image = self._camera(name), self._image(name)
        return Frame(
            frame_id=ref.frame_id,
            source_dataset=self.name,
            source_id=ref.source_id,
            split=ref.split,
            scene_id=ref.scene_id,
            description=self._description(name),
            camera=ref.camera,
            condition=ref.condition,
            timestamp_us=self._time_us(name),
            image=image,
            intrinsics=self._intrinsics(camera),
            T_world_camera=self._T_world_camera(name)
            if self._poses.known(name.drive)
            else np.eye(4),
            T_ego_camera=camera.T_ego_camera,
            lidar_depth_m=self._lidar_depth_m(name, camera),
            previous=self._neighbour(name, -1),
            next=self._neighbour(name, +1),
            stereo=self.stereo_pair(ref) if self.config.stereo else None,
        )

    @property
    def absent(self) -> frozenset[str]:
        """Source ids of frames that are listed but not on disk."""
        return frozenset(name.source_id for name in self._index.absent)

    def stereo_pair(self, ref: FrameRef) -> Neighbour | None:
        """Image of the pair's other camera; None if it is absent.

        T_neighbour_camera is the rectified baseline: a shift along x of about -0.53 m from
        image_02 to image_03. Raises DamagedInput.
        """
        name = FrameName.parse(ref.source_id)
        partner = name.seen_by(STEREO_PARTNER[name.camera])
        if find_image(self._files, partner) is None:
            return None
        here, there = self._camera(name), self._camera(partner)
        T_partner_camera = there.T_camera_velo @ invert_rigid(here.T_camera_velo)
        return self._as_neighbour(partner, T_partner_camera)

    def _refuse_problems(self) -> None:
        problems = [str(c) for c in self._calibrations.values() if isinstance(c, DamagedInput)]
        problems += self._index.problems()
        if problems:
            raise BrokenSource(
                f"{self._files.root} is incomplete: {'; '.join(problems)}. Download what is "
                "missing or correct the lists; with --skip-bad, these frames are reported and all "
                "others are read"
            )

    def _read_calibration(self, date: str) -> Calibration | DamagedInput:
        try:
            return read_calibration(self._files, date)
        except DamagedInput as error:
            return DamagedInput(Reason.BAD_CALIBRATION, f"calibration of {date}: {error}")

    def _ref(self, name: FrameName) -> FrameRef:
        split = NO_SPLIT
        if name in self._index.listed:
            split = self._index.listed[name].split
        elif not self._index.listed and name in self._index.depth_maps:
            split = self._index.depth_maps[name][1]
        time_us = self._stamp_us(name)
        return FrameRef(
            frame_id=frame_id(self.name, name.source_id),
            source_id=name.source_id,
            split=split,
            scene_id=name.drive,
            camera=name.camera,
            condition=Condition.CLEAR,
            timestamp_us=nominal_time_us(name) if time_us is None else time_us,
        )

    def _description(self, name: FrameName) -> str:
        words = f"KITTI drive {name.drive}, by day"
        if not self._from_maps and self._has_empty_scan(name):
            words += EMPTY_SWEEP
        if self._poses.known(name.drive):
            return words
        return f"{words}; no OXTS: the pose is unknown and given as the identity"

    def _has_empty_scan(self, name: FrameName) -> bool:
        path = self._files.path(_scan_file(name))
        return path.is_file() and not path.stat().st_size

    def _calibration(self, name: FrameName) -> Calibration:
        if name.date not in self._calibrations:
            raise _missing(name, f"there is no recording of {name.date} here")
        calibration = self._calibrations[name.date]
        if isinstance(calibration, DamagedInput):
            raise calibration
        return calibration

    def _camera(self, name: FrameName) -> CameraCalibration:
        cameras = self._calibration(name).cameras
        if name.camera not in cameras:
            raise DamagedInput(
                Reason.BAD_CALIBRATION,
                f"calib_cam_to_cam.txt of {name.date} has no P_rect_{name.camera[-2:]}",
            )
        return cameras[name.camera]

    def _crop(self, camera: CameraCalibration) -> Crop | None:
        try:
            return kb_crop(camera.size) if self.config.kb_crop else None
        except ValueError as error:
            raise DamagedInput(
                Reason.SIZE_MISMATCH, f"S_rect of its calibration: {error}"
            ) from error

    def _image(self, name: FrameName) -> JpegImage:
        file = self._index.images.get(name) or find_image(self._files, name)
        if file is None:
            raise _missing(name, "there is no image")
        camera = self._camera(name)
        return read_image(self._files, file, camera.size, self._crop(camera))

    def _intrinsics(self, camera: CameraCalibration) -> np.ndarray:
        crop = self._crop(camera)
        return camera.intrinsics if crop is None else crop.intrinsics(camera.intrinsics)

    def _lidar_depth_m(self, name: FrameName, camera: CameraCalibration) -> np.ndarray | None:
        """Depth (H, W) in metres from the scan or the depth map; None if both are absent."""
        depth_m = (
            self._map_m(name, camera)
            if self._from_maps
            else scan_depth_m(self._files, _scan_file(name), camera)
        )
        crop = self._crop(camera)
        return depth_m if depth_m is None or crop is None else crop.apply(depth_m)

    def _map_m(self, name: FrameName, camera: CameraCalibration) -> np.ndarray | None:
        if name not in self._index.depth_maps:
            return None
        return read_depth_map(self._files, self._index.depth_maps[name][0], camera.size)

    def _stamp_us(self, name: FrameName) -> int | None:
        """Time from timestamps.txt; nominal if that file is absent; None for a damaged line."""
        key = (name.drive, name.camera)
        if key not in self._times:
            folder = f"{name.drive_folder}/{name.camera}"
            self._times[key] = read_timestamps(self._files, folder)
        stamps = self._times[key]
        if stamps is None:
            return nominal_time_us(name)
        return stamps[name.number] if name.number < len(stamps) else None

    def _time_us(self, name: FrameName) -> int:
        time_us = self._stamp_us(name)
        if time_us is None:
            raise DamagedInput(
                Reason.BAD_RECORD,
                f"timestamps.txt has no time for {name.source_id}; expected "
                f"'YYYY-MM-DD HH:MM:SS.fffffffff' in line {name.number + 1}",
            )
        return time_us

    def _T_world_camera(self, name: FrameName) -> np.ndarray:
        T_world_imu = self._poses.T_world_imu(name)
        T_velo_imu = self._calibration(name).T_velo_imu
        if T_velo_imu is None:
            raise DamagedInput(
                Reason.BAD_CALIBRATION,
                f"{name.date} has OXTS packets and no calib_imu_to_velo.txt; copy it from KITTI's "
                "calib.zip",
            )
        T_imu_camera = invert_rigid(self._camera(name).T_camera_velo @ T_velo_imu)
        return T_world_imu @ T_imu_camera

    def _neighbour(self, name: FrameName, step: int) -> Neighbour | None:
        other = name.moved(step)
        known = other in self._index.images or other in self._index.absent
        if not self.config.neighbours or not known or not self._poses.known(name.drive):
            return None
        try:
            T_other_camera = invert_rigid(self._T_world_camera(other)) @ self._T_world_camera(name)
            neighbour = self._as_neighbour(other, T_other_camera)
            gap_us = neighbour.timestamp_us - self._time_us(name)
            if gap_us * step <= 0:
                raise DamagedInput(Reason.BAD_RECORD, f"its time is {gap_us} us from the frame's")
        except DamagedInput as error:
            side = "next" if step > 0 else "previous"
            raise DamagedInput(error.reason, f"its {side} image: {error}") from error
        return neighbour

    def _as_neighbour(self, name: FrameName, T_neighbour_camera: np.ndarray) -> Neighbour:
        return Neighbour(
            source_id=name.source_id,
            timestamp_us=self._time_us(name),
            image=self._image(name),
            intrinsics=self._intrinsics(self._camera(name)),
            T_neighbour_camera=T_neighbour_camera,
        )


def _scan_file(name: FrameName) -> str:
    return f"{name.drive_folder}/velodyne_points/data/{name.number:010d}.bin"


def _missing(name: FrameName, problem: str) -> DamagedInput:
    return DamagedInput(
        Reason.MISSING_FILE, f"{name.source_id}: {problem}. Copy the file from the original"
    )
