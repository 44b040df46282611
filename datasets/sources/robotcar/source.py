"""Oxford RobotCar source: read as its SDK documents it, with md4all's splits."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import BrokenSource, DamagedInput, Reason
from nightrain.datasets.frame import Frame, FrameRef, Neighbour
from nightrain.datasets.geometry.projection import invert_rigid, project_points, transform_points
from nightrain.datasets.ids import frame_id
from nightrain.datasets.io.images import JpegImage, encode_jpeg
from nightrain.datasets.io.untrusted import Files
from nightrain.datasets.sources.base import ALL, FrameSource
from nightrain.datasets.sources.robotcar import splits as protocol
from nightrain.datasets.sources.robotcar.brightness import Brightness
from nightrain.datasets.sources.robotcar.camera import (
    T_ego_vehicle,
    is_grey_png,
    read_camera,
    read_extrinsics,
    read_png,
)
from nightrain.datasets.sources.robotcar.config import RobotCarConfig
from nightrain.datasets.sources.robotcar.lms import LMS
from nightrain.datasets.sources.robotcar.splits import SplitEntry
from nightrain.datasets.sources.robotcar.traverse import NAME, Traverse
from nightrain.datasets.sources.scene_conditions import ADVERSE
from nightrain.datasets.splits import check_split, is_in_split, other_splits

JPEG_QUALITY = 97
CACHED_IMAGES = 8  # each image is used three times: by its frame and as a neighbour of two others

RAW = {"auto": None, "yes": False, "no": True}  # whether images are raw, by option


class RobotCarSource(FrameSource):
    """Frames of traverse folders, with calibration and tags from the SDK's folder.

    Without `splits` in the config, every image is listed, with the split "none". The world is the
    ego frame at the first pose of a traverse. Without odometry and INS, every image has its own
    world: T_world_camera is T_ego_camera, and there are no neighbours and no LiDAR depth.

    Raises BrokenSource if a folder, the calibration or the tags cannot be read.
    """

    name = "robotcar"
    licence = "CC-BY-NC-SA-4.0"
    attribution = (
        "Oxford RobotCar Dataset, University of Oxford, https://robotcar-dataset.robots.ox.ac.uk, "
        "CC BY-NC-SA 4.0; Maddern, Pascoe, Linegar and Newman, IJRR 2017."
    )

    def __init__(self, config: RobotCarConfig) -> None:
        self.config = config
        root, sdk, splits, camera = config.root, config.sdk, config.splits, config.camera
        for folder in (root, sdk):
            if not folder.is_dir():
                raise BrokenSource(
                    f"{folder} is not a folder; expected the traverses or the SDK of RobotCar"
                )
        self._root = root.resolve()
        self._raw = RAW[config.undistorted]
        self._files = Files.below(self._root, config.links)
        self._sdk = Files.below(sdk, config.links)
        try:
            self._camera = read_camera(self._sdk, camera, crop_bonnet=config.crop_bonnet)
            self._T_vehicle_ins = read_extrinsics(self._sdk, "ins")
            self._T_vehicle_laser = read_extrinsics(self._sdk, LMS)
        except DamagedInput as error:
            raise BrokenSource(f"the calibration of {camera} cannot be read: {error}") from error
        self._T_ego_vehicle = T_ego_vehicle(self._T_vehicle_ins)
        every = config.traverses == ALL
        names = _traverse_names(self._root, splits) if every else config.traverses
        self._traverses = {name: self._traverse(name, splits) for name in names}
        self._brightness = Brightness(config.cache, self._pixels)
        self._image = lru_cache(maxsize=CACHED_IMAGES)(self._read_image)

    def __reduce__(self) -> tuple[type["RobotCarSource"], tuple[RobotCarConfig]]:
        return RobotCarSource, (self.config,)  # a worker process gets the options, not the tables

    def select(self, split: str) -> Sequence[FrameRef]:
        """Frames by traverse and time; raises InvalidRequest for an unknown split.

        "train" follows md4all: triplets of clear days, without static, overexposed and unevenly
        exposed ones. A frame that cannot be checked stays listed, so that its damage is reported
        when it is loaded. "all" is not filtered. Raises BrokenSource for a damaged list and,
        without `skip_bad`, for listed frames without images, odometry or tables.
        """
        check_split(split)
        listed: list[tuple[Traverse, int]] = []
        left_out: Counter[str] = Counter()
        for traverse in self._traverses.values():
            left_out.update(other_splits((p.split for p in traverse.listed.values()), split))
            wanted = [t for t, p in traverse.listed.items() if is_in_split(p.split, split)]
            if split == "train" and traverse.condition is not Condition.CLEAR:
                left_out[ADVERSE.format(traverse.condition)] += len(wanted)
                wanted = []
            listed += [(traverse, time_us) for time_us in sorted(wanted)]
        if not self.config.skip_bad:
            self._check_present(listed)
        if split == "train":
            reasons = [self._reason_to_skip(traverse, t) for traverse, t in listed]
            left_out.update(filter(None, reasons))
            listed = [at for at, reason in zip(listed, reasons, strict=True) if not reason]
            self._brightness.save()
        self.left_out = {reason: number for reason, number in left_out.items() if number}
        return [self._ref(traverse, time_us) for traverse, time_us in listed]

    def load(self, ref: FrameRef) -> Frame:
        """Read one frame with its LiDAR depth and neighbours; raises DamagedInput."""
        traverse = self._traverses.get(ref.scene_id)
        if traverse is None or ref.source_id != self._source_id(traverse, ref.timestamp_us):
            raise DamagedInput(Reason.BAD_RECORD, f"there is no image {ref.source_id:.80}")
        entry = traverse.entry(ref.timestamp_us)
        return Frame(
            frame_id=ref.frame_id,
            source_dataset=self.name,
            source_id=ref.source_id,
            split=ref.split,
            scene_id=ref.scene_id,
            description=traverse.description,
            camera=ref.camera,
            condition=ref.condition,
            timestamp_us=ref.timestamp_us,
            image=self._image(traverse.name, ref.timestamp_us),
            intrinsics=self._camera.intrinsics,
            T_world_camera=self._T_world_camera(traverse, ref.timestamp_us),
            T_ego_camera=self._T_ego_vehicle @ self._camera.T_vehicle_camera,
            lidar_depth_m=self._lidar_depth_m(traverse, ref.timestamp_us),
            previous=self._neighbour(traverse, entry, entry.previous_us, ref, "previous"),
            next=self._neighbour(traverse, entry, entry.next_us, ref, "next"),
        )

    @property
    def absent(self) -> frozenset[str]:
        """Source ids of frames that are listed but not on disk."""
        return frozenset(
            self._source_id(traverse, time_us)
            for traverse in self._traverses.values()
            for time_us in traverse.listed
            if traverse.missing(time_us, neighbours=False)
        )

    def _traverse(self, name: str, splits: Path | None) -> Traverse:
        condition, tags = protocol.read_condition(self._sdk, name)
        traverse = Traverse(
            files=self._files,
            name=name,
            camera=self.config.camera,
            times_name=self._camera.kind.extrinsics,
            condition=condition,
            description=f"Oxford RobotCar, {tags}",
            T_vehicle_ins=self._T_vehicle_ins,
            T_vehicle_laser=self._T_vehicle_laser,
            entries=self._entries(name),
            prefer_rgb=self._raw is False,
        )
        if splits is None and not traverse.listed:
            raise BrokenSource(
                f"traverse {name} has neither images in {traverse.folder} nor a list of images, "
                f"{name}/{traverse.times_name}.timestamps. Check the root folder and the camera"
            )
        return traverse

    def _entries(self, name: str) -> dict[int, SplitEntry] | None:
        splits = self.config.splits
        if splits is None:
            return None
        return protocol.read_split_files(splits, name, self.config.links)

    def _check_present(self, listed: Sequence[tuple[Traverse, int]]) -> None:
        missing = {
            self._source_id(traverse, time_us): problem
            for traverse, time_us in listed
            if (problem := traverse.missing(time_us, neighbours=self.config.neighbours))
        }
        if missing:
            raise BrokenSource(protocol.missing_message(missing, str(self._root)))
        for traverse in {traverse.name: traverse for traverse, _ in listed}.values():
            self._check_needs(traverse)

    def _check_needs(self, traverse: Traverse) -> None:
        """Raise BrokenSource if odometry or tables that all images need are absent."""
        triplets = any(entry.previous_us for entry in traverse.listed.values())
        if triplets and self.config.neighbours and _odometry(traverse) is None:
            raise BrokenSource(f"traverse {traverse.name}: {NO_ODOMETRY}")
        if self._raw is False or not self._is_raw(traverse, int(traverse.images_us[0])):
            return
        try:
            self._camera.lookup()
        except DamagedInput as error:
            raise BrokenSource(f"traverse {traverse.name}: {error}") from error

    def _is_raw(self, traverse: Traverse, time_us: int) -> bool:
        try:
            return is_grey_png(read_png(self._files, f"{traverse.folder}/{time_us}.png"))
        except DamagedInput:
            return False  # reported when its frame is loaded

    def _ref(self, traverse: Traverse, time_us: int) -> FrameRef:
        source_id = self._source_id(traverse, time_us)
        return FrameRef(
            frame_id=frame_id(self.name, source_id),
            source_id=source_id,
            split=traverse.listed[time_us].split,
            scene_id=traverse.name,
            camera=self.config.camera,
            condition=traverse.condition,
            timestamp_us=time_us,
        )

    def _source_id(self, traverse: Traverse, time_us: int) -> str:
        return f"{traverse.name}/{self.config.camera}/{time_us}"

    def _reason_to_skip(self, traverse: Traverse, time_us: int) -> str:
        """Reason why md4all's filter leaves a triplet out; "" if it does not."""
        entry = traverse.listed[time_us]
        if self.config.train_filter == "none" or entry.previous_us is None or entry.next_us is None:
            return ""
        triplet_us = (entry.previous_us, time_us, entry.next_us)
        try:
            trajectory = traverse.trajectory
            if trajectory is not None and protocol.is_static(trajectory, triplet_us):
                return "triplets of a standing car: train uses moving ones"
            if self.config.train_filter == "static":
                return ""
            means = self._brightness.of(traverse.name, triplet_us)
        except DamagedInput:
            return ""  # stays listed, so that the damage is reported
        if protocol.is_badly_exposed(*means):
            return "overexposed or unevenly exposed triplets, which train does not use"
        return ""

    def _pixels(self, traverse: str, time_us: int) -> np.ndarray:
        name = f"{self._traverses[traverse].folder}/{time_us}.png"
        try:
            return self._camera.image(read_png(self._files, name), raw=self._raw)
        except DamagedInput as error:
            raise DamagedInput(error.reason, f"image {name}: {error}") from error

    def _read_image(self, traverse: str, time_us: int) -> JpegImage:
        return JpegImage(encode_jpeg(self._pixels(traverse, time_us), quality=JPEG_QUALITY))

    def _T_world_camera(self, traverse: Traverse, time_us: int) -> np.ndarray:
        T_first_vehicle = np.eye(4)
        if traverse.trajectory is not None:
            T_first_vehicle = traverse.trajectory.at(np.array([time_us]))[0]
        return self._T_ego_vehicle @ T_first_vehicle @ self._camera.T_vehicle_camera

    def _lidar_depth_m(self, traverse: Traverse, time_us: int) -> np.ndarray | None:
        """Depth (H, W) in metres: the scans around an image, projected into it."""
        if traverse.scans is None or traverse.trajectory is None:
            return None
        vehicle_m = traverse.scans.points(traverse.trajectory, time_us, self.config.lms_window_s)
        points_m = transform_points(invert_rigid(self._camera.T_vehicle_camera), vehicle_m)
        return project_points(points_m, self._camera.intrinsics, self._camera.size)

    def _neighbour(
        self, traverse: Traverse, entry: SplitEntry, time_us: int | None, ref: FrameRef, side: str
    ) -> Neighbour | None:
        if not self.config.neighbours or time_us is None:
            return None
        if traverse.trajectory is None:
            if traverse.listed[ref.timestamp_us].previous_us is None:
                return None
            raise DamagedInput(Reason.BAD_POSE, NO_ODOMETRY)
        try:
            T_world_neighbour = self._T_world_camera(traverse, time_us)
            return Neighbour(
                source_id=self._source_id(traverse, time_us),
                timestamp_us=time_us,
                image=self._image(traverse.name, time_us),
                intrinsics=self._camera.intrinsics,
                T_neighbour_camera=invert_rigid(T_world_neighbour)
                @ self._T_world_camera(traverse, ref.timestamp_us),
            )
        except DamagedInput as error:
            raise DamagedInput(error.reason, f"its {side} image: {error}") from error


NO_ODOMETRY = (
    "its triplets need the car's motion, but there is neither vo/vo.csv nor gps/ins.csv. Download "
    "the visual odometry, or ingest with --no-neighbours"
)


def _odometry(traverse: Traverse) -> object:
    try:
        return traverse.trajectory
    except DamagedInput as error:
        raise BrokenSource(f"traverse {traverse.name}: {error}") from error


def _traverse_names(root: Path, splits: Path | None) -> list[str]:
    here = {path.name for path in root.iterdir() if NAME.fullmatch(path.name) and path.is_dir()}
    names = here | set([] if splits is None else protocol.traverses_of(splits))
    if not names:
        raise BrokenSource(
            f"{root} contains no traverse; expected folders such as 2014-12-09-13-21-02. Pass the "
            "folder that the downloaded archives were unpacked in"
        )
    return sorted(names)
