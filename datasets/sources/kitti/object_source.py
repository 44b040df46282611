"""KITTI object source: the layout of the 2D and 3D object benchmark (Geiger et al. 2012).

{training,testing}/image_2/<frame>.png  calib/<frame>.txt  velodyne/<frame>.bin  label_2/<frame>.txt
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import BrokenSource, DamagedInput, InvalidRequest, Reason
from nightrain.datasets.frame import Frame, FrameRef, Neighbour
from nightrain.datasets.geometry.crops import Crop, kb_crop
from nightrain.datasets.geometry.projection import invert_rigid
from nightrain.datasets.ids import frame_id
from nightrain.datasets.io.images import MAX_FILE_BYTES, PNG_SIGNATURE, check_png, jpeg_size
from nightrain.datasets.io.untrusted import Checksums, Files
from nightrain.datasets.sources.base import FrameSource
from nightrain.datasets.sources.kitti.calibration import (
    CameraCalibration,
    read_entries,
    rectified_camera,
)
from nightrain.datasets.sources.kitti.config import KittiConfig
from nightrain.datasets.sources.kitti.drives import NOMINAL_STEP_US, folder_names
from nightrain.datasets.sources.kitti.files import read_image, scan_depth_m
from nightrain.datasets.sources.kitti.object_labels import read_objects
from nightrain.datasets.sources.kitti.source import STEREO_PARTNER, KittiSource
from nightrain.datasets.splits import NO_SPLIT, check_split, is_in_split, other_splits

PARTS = ("training", "testing")
FOLDERS = {"image_02": "image_2", "image_03": "image_3"}
MAX_LIST_BYTES = 4 << 20
_IMAGE = re.compile(r"(\d{6})\.(?:png|jpg)")
_SOURCE_ID = re.compile(r"(training|testing)/(image_[23])/(\d{6})")


class KittiObjectSource(FrameSource):
    """Frames of the object benchmark, which were drawn at random from KITTI's drives.

    A frame has no time, pose or neighbour: timestamps are nominal, T_world_camera is the identity,
    and each frame is a scene of its own. `split_files` is a folder with train.txt and val.txt, a
    frame in each line; without it, training frames have the split "none". Testing frames have the
    split "test".
    """

    name, licence, attribution = KittiSource.name, KittiSource.licence, KittiSource.attribution
    own_splits = True

    def __init__(self, config: KittiConfig) -> None:
        self.config = config
        wrong = [camera for camera in config.cameras if camera not in FOLDERS]
        if wrong or config.ground_truth == "improved":
            what = f"camera {wrong[0]}" if wrong else "--ground-truth improved"
            raise InvalidRequest(
                f"The object benchmark has no {what}; it has image_02 and image_03, and the depth "
                "of one LiDAR scan."
            )
        self._files = Files.below(config.root, config.links)
        self._images = {
            f"{part}/{FOLDERS[camera]}/{match[1]}": f"{part}/{FOLDERS[camera]}/{match[0]}"
            for part in PARTS
            for camera in config.cameras
            for name in sorted(folder_names(self._files, f"{part}/{FOLDERS[camera]}"))
            if (match := _IMAGE.fullmatch(name))
        }
        if not self._images:
            raise BrokenSource(
                f"no image of KITTI's object benchmark below {self._files.root}; expected "
                "training/image_2/000000.png, training/calib/000000.txt and, for depth, "
                "training/velodyne/000000.bin. Pass the folder that contains training"
            )
        self._listed = _read_lists(config)
        self.notes = self._notes()

    def __reduce__(self) -> tuple[type["KittiObjectSource"], tuple[KittiConfig]]:
        return KittiObjectSource, (self.config,)

    def select(self, split: str) -> Sequence[FrameRef]:
        """Frames by part, camera and number; raises InvalidRequest for an unknown split."""
        check_split(split)
        refs = [self._ref(source_id) for source_id in self._images]
        self.left_out = other_splits((ref.split for ref in refs), split)
        return [ref for ref in refs if is_in_split(ref.split, split)]

    def load(self, ref: FrameRef) -> Frame:
        """Read one frame with its LiDAR depth and labels; raises DamagedInput."""
        part, _, number = _parsed(ref.source_id)
        file = self._image_file(ref.source_id)
        size = _image_size(self._files, file)
        camera = self._camera(ref.source_id, size)
        crop = self._crop(size)
        depth_m = scan_depth_m(self._files, f"{part}/velodyne/{number}.bin", camera)
        if depth_m is not None and crop is not None:
            depth_m = crop.apply(depth_m)
        return Frame(
            frame_id=ref.frame_id,
            source_dataset=self.name,
            source_id=ref.source_id,
            split=ref.split,
            scene_id=ref.scene_id,
            description="KITTI object benchmark, by day; no pose: given as the identity",
            camera=ref.camera,
            condition=ref.condition,
            timestamp_us=ref.timestamp_us,
            image=read_image(self._files, file, size, crop),
            intrinsics=_cropped(camera, crop),
            T_world_camera=np.eye(4),
            T_ego_camera=camera.T_ego_camera,
            lidar_depth_m=depth_m,
            stereo=self._stereo(ref, camera) if self.config.stereo else None,
            objects=read_objects(self._files, f"{part}/label_2/{number}.txt", size),
        )

    def _ref(self, source_id: str) -> FrameRef:
        part, folder, number = _parsed(source_id)
        split = "test" if part == "testing" else self._listed.get(number, NO_SPLIT)
        return FrameRef(
            frame_id=frame_id(self.name, source_id),
            source_id=source_id,
            split=split,
            scene_id=f"object-{part}-{number}",
            camera=next(camera for camera, name in FOLDERS.items() if name == folder),
            condition=Condition.CLEAR,
            timestamp_us=NOMINAL_STEP_US * int(number),
        )

    def _image_file(self, source_id: str) -> str:
        if source_id in self._images:
            return self._images[source_id]
        folder, _, number = source_id.rpartition("/")
        names = (f"{number}.png", f"{number}.jpg")
        there = {*folder_names(self._files, folder)}
        if found := next((name for name in names if name in there), None):
            return f"{folder}/{found}"
        raise DamagedInput(Reason.MISSING_FILE, f"{source_id}: there is no image. Copy it")

    def _camera(self, source_id: str, size: tuple[int, int]) -> CameraCalibration:
        """Calibration of a frame's camera; raises DamagedInput."""
        part, folder, number = _parsed(source_id)
        entries = read_entries(self._files, f"{part}/calib/{number}.txt")
        T_rect_velo = entries.rigid("R0_rect", None) @ entries.rigid_3x4("Tr_velo_to_cam")
        return rectified_camera(entries, f"P{folder[-1]}", size, T_rect_velo)

    def _crop(self, size: tuple[int, int]) -> Crop | None:
        try:
            return kb_crop(size) if self.config.kb_crop else None
        except ValueError as error:
            raise DamagedInput(Reason.SIZE_MISMATCH, f"the image: {error}") from error

    def _stereo(self, ref: FrameRef, camera: CameraCalibration) -> Neighbour | None:
        """Image of the pair's other camera; None if it is absent. Raises DamagedInput."""
        part, _, number = _parsed(ref.source_id)
        partner = f"{part}/{FOLDERS[STEREO_PARTNER[ref.camera]]}/{number}"
        try:
            file = self._image_file(partner)
        except DamagedInput:
            return None
        size = _image_size(self._files, file)
        other, crop = self._camera(partner, size), self._crop(size)
        return Neighbour(
            source_id=partner,
            timestamp_us=ref.timestamp_us,
            image=read_image(self._files, file, size, crop),
            intrinsics=_cropped(other, crop),
            T_neighbour_camera=other.T_camera_velo @ invert_rigid(camera.T_camera_velo),
        )

    def _notes(self) -> tuple[str, ...]:
        said = ["no poses or times: T_world_camera is the identity, and there are no neighbours"]
        parts = sorted({source_id.split("/")[0] for source_id in self._images})
        for folder, consequence in (("velodyne", "no depth"), ("label_2", "objects unknown")):
            for part in parts:
                if not folder_names(self._files, f"{part}/{folder}"):
                    said.append(f"there is no {part}/{folder}: {consequence}")
        here = {_parsed(source_id)[2] for source_id in self._images}
        if absent := self._listed.keys() - here:
            said.append(f"{len(absent)} of {len(self._listed)} listed frames have no image here")
        return tuple(said)


def _parsed(source_id: str) -> tuple[str, str, str]:
    """Part, folder and number of a source_id; raises DamagedInput."""
    match = _SOURCE_ID.fullmatch(source_id)
    if match is None:
        raise DamagedInput(
            Reason.BAD_RECORD, f"found {source_id[:120]!r}, not a frame of the object benchmark"
        )
    return match[1], match[2], match[3]


def _cropped(camera: CameraCalibration, crop: Crop | None) -> np.ndarray:
    return camera.intrinsics if crop is None else crop.intrinsics(camera.intrinsics)


def _image_size(files: Files, name: str) -> tuple[int, int]:
    """(width, height) of an image from its header; raises DamagedInput."""
    data = files.read(name, MAX_FILE_BYTES)
    try:
        if data[:8] != PNG_SIGNATURE:
            return jpeg_size(data)
        check_png(data)
    except DamagedInput as error:
        raise DamagedInput(error.reason, f"image {name}: {error}") from error
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def _read_lists(config: KittiConfig) -> Mapping[str, str]:
    """Split of training frames by number, from train.txt and val.txt; raises BrokenSource."""
    if config.split_files is None:
        return {}
    files = Files(config.split_files, Checksums(config.split_files, config.links), config.links)
    names = {*folder_names(files, "")}
    listed: dict[str, str] = {}
    for split in (split for split in ("train", "val") if f"{split}.txt" in names):
        for line in _lines(files, f"{split}.txt"):
            if not re.fullmatch(r"\d{6}", line):
                raise BrokenSource(
                    f"{split}.txt has the line {line[:80]!r}; expected six digits, such as 000007"
                )
            if listed.setdefault(line, split) != split:
                raise BrokenSource(
                    f"{split}.txt has {line}, as {listed[line]}.txt has; a frame has one split"
                )
    if not listed:
        raise BrokenSource(
            f"no split file in {config.split_files}; expected train.txt or val.txt with a "
            "frame in each line, such as 000007"
        )
    return listed


def _lines(files: Files, name: str) -> Sequence[str]:
    try:
        return files.read_text(name, MAX_LIST_BYTES).split()
    except DamagedInput as error:
        raise BrokenSource(f"the split file {name} cannot be read: {error}") from error
