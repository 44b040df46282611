"""nuScenes source: frames in nuScenes' layout, read through nuscenes-devkit's tables."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.frame import Frame, FrameRef, Neighbour
from nightrain.datasets.geometry.projection import (
    camera_from_lidar,
    invert_rigid,
    project_points,
    project_points_md4all,
    transform_points,
)
from nightrain.datasets.ids import frame_id
from nightrain.datasets.io.untrusted import Files
from nightrain.datasets.sources import scene_conditions as splits
from nightrain.datasets.sources.base import ALL, FrameSource
from nightrain.datasets.sources.lidar_sensors import ANY_LIDAR, NUSCENES_LIDAR, WORLD_LIDAR
from nightrain.datasets.sources.nuscenes.config import WORLD_VERSION, NuScenesConfig
from nightrain.datasets.sources.nuscenes.objects import objects_in_view
from nightrain.datasets.sources.nuscenes.records import (
    Record,
    camera_intrinsics,
    pose,
    read_exact_depth,
    read_image,
    read_lidar_points,
    timestamp_us,
)
from nightrain.datasets.sources.nuscenes.tables import (
    LIDAR,
    channel_in_name,
    open_devkit,
    read_tables,
)
from nightrain.datasets.sources.point_cloud import EMPTY_SWEEP
from nightrain.datasets.splits import NO_SPLIT, check_split, is_in_split, other_splits

STEREO_OF = {"CAM_FRONT": "CAM_FRONT_STEREO"}  # built-in world; not listed as frames
NO_SCENE: dict[str, Any] = {}


class NuScenesSource(FrameSource):
    """Frames of a version folder in nuScenes' layout.

    The config's `frames` selects keyframes (2 Hz, with LiDAR), the sweeps between them (about 12 Hz
    in all, without LiDAR), or both. With `neighbours`, a frame includes the same camera's previous
    and next images, and its stereo partner's image; if one of them is damaged, the frame counts as
    damaged. Frames of annotated scenes have `objects`.

    Raises BrokenSource if the tables cannot be read.
    """

    def __init__(self, config: NuScenesConfig) -> None:
        self.config = config
        root, version = config.root, config.version
        world = version == WORLD_VERSION
        self.name = "world" if world else "nuscenes"
        self.licence = "Apache-2.0" if world else "CC-BY-NC-SA-4.0"
        self.attribution = WORLD_ATTRIBUTION if world else NUSCENES_ATTRIBUTION
        own_lidar = WORLD_LIDAR if world else NUSCENES_LIDAR
        self._lidar = ANY_LIDAR if config.lidar == "other" else own_lidar
        self._cameras = None if config.cameras == ALL else frozenset(config.cameras)
        self._files = Files.below(root, config.links)
        chosen = self._cameras or ()
        channels = {*chosen, *(STEREO_OF.get(c, c) for c in chosen)}
        tables = read_tables(self._files, version, channels)
        self._rejected, self._miscounted = tables.rejected, tables.miscounted
        self.notes = tables.notes
        self._devkit = open_devkit(self._files.root, version, tables)
        self._known = {record["token"]: record for record in self._devkit.sample_data}
        self._broken_aside = {  # broken records that belong to a frame: LiDAR, stereo partner
            (str(r.record.get("sample_token")), channel): r
            for r in tables.rejected.values()
            if (channel := self._channel(r.record)) in (LIDAR, *STEREO_OF.values())
        }
        samples = {record["sample_token"] for record in self._devkit.sample_annotation}
        self._annotated = {self._devkit.get("sample", s)["scene_token"] for s in samples}
        own = splits.own_scene_splits(self._files, version)
        self.own_splits = own is not None  # instead of the published splits
        self._split_of_scene = splits.official_scene_splits() if own is None else own
        self._log_of = {log["token"]: _log_name(log) for log in tables.records["log"]}

    def __reduce__(self) -> tuple[type["NuScenesSource"], tuple[NuScenesConfig]]:
        return NuScenesSource, (self.config,)  # a worker process gets the options, not the tables

    def select(self, split: str) -> Sequence[FrameRef]:
        """Frames by scene name, time and camera; raises InvalidRequest for an unknown split.

        "train" follows md4all: clear days, a moving car, both neighbours present. "val", "test" and
        "all" are not filtered; in "all", each frame keeps its own split.
        """
        check_split(split)
        refs = [self._ref(record) for record in self._records() if self._is_listed(record)]
        self.left_out = other_splits((ref.split for ref in refs), split)
        refs = [ref for ref in refs if is_in_split(ref.split, split)]
        if split == "train":
            refs = self._trained_on(refs)
        return sorted(refs, key=lambda r: (r.scene_id, r.timestamp_us, r.camera, r.source_id))

    def _trained_on(self, refs: Sequence[FrameRef]) -> list[FrameRef]:
        """Frames that md4all trains on; adds the others to `left_out`."""
        reasons = [splits.reason_to_skip(ref.condition, self._speeds_m_s(ref)) for ref in refs]
        self.left_out = {**self.left_out, **Counter(filter(None, sorted(reasons)))}
        return [ref for ref, reason in zip(refs, reasons, strict=True) if not reason]

    def load(self, ref: FrameRef) -> Frame:
        """Read one frame with its LiDAR depth and neighbours; raises DamagedInput."""
        record = self._record(ref.source_id)
        image = read_image(self._files, record)
        sweep_m = self._sweep_m(record)
        is_empty = sweep_m is not None and not len(sweep_m)
        return Frame(
            frame_id=ref.frame_id,
            source_dataset=self.name,
            source_id=ref.source_id,
            split=ref.split,
            scene_id=ref.scene_id,
            description=_description(self._scene(record)) + (EMPTY_SWEEP if is_empty else ""),
            camera=ref.camera,
            condition=ref.condition,
            timestamp_us=_time_us(record),
            image=image,
            intrinsics=self._intrinsics(record),
            T_world_camera=self._T_world_sensor(record),
            T_ego_camera=self._T_ego_sensor(record),
            lidar_depth_m=self._lidar_depth_m(record, sweep_m, image.size()),
            exact_depth_m=self._exact_depth_m(record, image.size()),
            previous=self._neighbour(record, "prev"),
            next=self._neighbour(record, "next"),
            stereo=self._stereo(record),
            objects=self._objects(record, image.size()),
        )

    @property
    def unplaced(self) -> Sequence[str]:
        """Tokens of broken sample_data records without a known camera."""
        return [t for t, r in self._rejected.items() if not self._channel(r.record)]

    def _records(self) -> list[Record]:
        return [*self._devkit.sample_data, *(r.record for r in self._rejected.values())]

    def _is_listed(self, record: Record) -> bool:
        channel = self._channel(record)
        if not channel or (self._cameras is not None and channel not in self._cameras):
            return False
        if channel in STEREO_OF.values():
            return False
        key = record.get("is_key_frame") is not False
        modality = record.get("sensor_modality", "camera" if channel.startswith("CAM") else "")
        return modality == "camera" and self.config.frames in (
            "all",
            "keyframes" if key else "sweeps",
        )

    def _ref(self, record: Record) -> FrameRef:
        scene = self._scene(record)
        return FrameRef(
            frame_id=frame_id(self.name, record["token"]),
            source_id=record["token"],
            split=self._split_of_scene.get(scene.get("name", ""), NO_SPLIT),
            scene_id=scene.get("name", ""),
            camera=self._channel(record),
            condition=self._condition(record, scene),
            timestamp_us=timestamp_us(record) or 0,
            log_id=self._log_id(scene),
        )

    def _log_id(self, scene: Record) -> str:
        token = _writable(scene.get("log_token"))
        return self._log_of.get(token) or token

    def _record(self, token: str) -> Record:
        """Return a valid sample_data record; raises DamagedInput for a rejected one."""
        if token in self._rejected:
            raise self._rejected[token].error()
        if token not in self._known:
            raise DamagedInput(Reason.BAD_RECORD, f"there is no sample_data record {token:.80}")
        return self._known[token]

    def _scene(self, record: Record) -> Record:
        try:
            sample = self._devkit.get("sample", record["sample_token"])
            return self._devkit.get("scene", sample["scene_token"])
        except (KeyError, TypeError):  # only in a rejected record
            return NO_SCENE

    def _channel(self, record: Record) -> str:
        try:
            sensor = self._devkit.get("calibrated_sensor", record["calibrated_sensor_token"])
            return self._devkit.get("sensor", sensor["sensor_token"])["channel"]
        except (KeyError, TypeError):  # only in a rejected record
            return channel_in_name(record)

    def _condition(self, record: Record, scene: Record) -> Condition:
        description = _description(scene)
        split = self._split_of_scene.get(scene.get("name", ""))
        if self.name == "nuscenes" and split == "test" and not description.strip():
            name, time_us = str(record.get("filename")), timestamp_us(record) or 0
            return splits.condition_from_test_file(name, time_us)
        if self.name == "nuscenes":
            return splits.condition_by_md4all(description)
        return splits.condition_by_words(description)

    def _intrinsics(self, record: Record) -> np.ndarray:
        token = record["calibrated_sensor_token"]
        return camera_intrinsics(self._devkit.get("calibrated_sensor", token))

    def _T_ego_sensor(self, record: Record) -> np.ndarray:
        calibrated = self._devkit.get("calibrated_sensor", record["calibrated_sensor_token"])
        return pose(calibrated, "calibrated_sensor", Reason.BAD_CALIBRATION)

    def _T_world_ego(self, record: Record) -> np.ndarray:
        ego_pose = self._devkit.get("ego_pose", record["ego_pose_token"])
        return pose(ego_pose, "ego_pose", Reason.BAD_POSE)

    def _T_world_sensor(self, record: Record) -> np.ndarray:
        return self._T_world_ego(record) @ self._T_ego_sensor(record)

    def _lidar_depth_m(
        self, camera: Record, points_m: np.ndarray | None, size: tuple[int, int]
    ) -> np.ndarray | None:
        """Depth (H, W) of a keyframe's points (N, 3), projected into the image at its time."""
        lidar = self._lidar_record(camera)
        if lidar is None or points_m is None or not len(points_m):
            return None
        T_camera_lidar = camera_from_lidar(
            self._T_ego_sensor(lidar),
            self._T_world_ego(lidar),
            self._T_world_ego(camera),
            self._T_ego_sensor(camera),
        )
        camera_m = transform_points(T_camera_lidar, points_m)
        is_md4all = self.config.projection == "md4all"
        project = project_points_md4all if is_md4all else project_points
        return project(camera_m, self._intrinsics(camera), size)

    def _sweep_m(self, camera: Record) -> np.ndarray | None:
        """Points (N, 3) in metres of a keyframe's sweep; None if there is no sweep."""
        lidar = self._lidar_record(camera)
        return None if lidar is None else read_lidar_points(self._files, lidar, self._lidar)

    def _lidar_record(self, camera: Record) -> Record | None:
        return self._beside(camera, LIDAR) if camera["is_key_frame"] else None

    def _beside(self, record: Record, channel: str) -> Record | None:
        """Record of another sensor at the same keyframe; raises DamagedInput."""
        sample = self._devkit.get("sample", record["sample_token"])
        if channel in sample["data"]:
            return self._record(sample["data"][channel])
        if (sample["token"], channel) in self._broken_aside:
            raise self._broken_aside[sample["token"], channel].error()
        return None

    def _exact_depth_m(self, record: Record, size: tuple[int, int]) -> np.ndarray | None:
        stem = PurePosixPath(record["filename"]).stem
        name = f"truth/depth/{self._channel(record)}/{stem}.png"
        return read_exact_depth(self._files, name, size)

    def _objects(self, record: Record, size: tuple[int, int]) -> dict[str, int] | None:
        """Count the annotated objects in the image; None without sound annotations."""
        sample = self._devkit.get("sample", record["sample_token"])
        if sample["scene_token"] not in self._annotated or sample["token"] in self._miscounted:
            return None
        T_camera_world = invert_rigid(self._T_world_sensor(record))
        return objects_in_view(
            self._devkit, record["token"], T_camera_world, self._intrinsics(record), size
        )

    def _neighbour(self, record: Record, side: Literal["prev", "next"]) -> Neighbour | None:
        if not self.config.neighbours or record.get(side) == "":
            return None
        try:
            return self._view_of(self._adjacent(record, side), record)
        except DamagedInput as error:
            name = "previous" if side == "prev" else side
            raise DamagedInput(error.reason, f"its {name} image: {error}") from error

    def _stereo(self, record: Record) -> Neighbour | None:
        """Stereo partner of a keyframe; None if its camera has none."""
        partner = STEREO_OF.get(self._channel(record))
        if partner is None or not record["is_key_frame"]:
            return None
        try:
            other = self._beside(record, partner)
            return None if other is None else self._view_of(other, record)
        except DamagedInput as error:
            raise DamagedInput(error.reason, f"its stereo image: {error}") from error

    def _view_of(self, other: Record, record: Record) -> Neighbour:
        return Neighbour(
            source_id=other["token"],
            timestamp_us=_time_us(other),
            image=read_image(self._files, other),
            intrinsics=self._intrinsics(other),
            T_neighbour_camera=invert_rigid(self._T_world_sensor(other))
            @ self._T_world_sensor(record),
        )

    def _adjacent(self, record: Record, side: Literal["prev", "next"]) -> Record:
        """Previous or next record of the same camera; raises DamagedInput."""
        other = self._record(str(record.get(side)))
        gap_us = _time_us(other) - _time_us(record)
        if self._channel(other) != self._channel(record) or (gap_us > 0) != (side == "next"):
            raise DamagedInput(
                Reason.BAD_RECORD,
                f"{other['token']} is of {self._channel(other)}, {gap_us} us away; expected "
                f"{self._channel(record)} and a time {'after' if side == 'next' else 'before'}",
            )
        return other

    def _speeds_m_s(self, ref: FrameRef) -> tuple[float, float] | None:
        """Mean ego speeds before and after a frame; None at the ends of a scene, NaN if damaged."""
        record = self._known.get(ref.source_id, {})
        if "" in (record.get("prev"), record.get("next")):
            return None
        return self._speed_m_s(record, "prev"), self._speed_m_s(record, "next")

    def _speed_m_s(self, record: Record, side: Literal["prev", "next"]) -> float:
        try:
            other = self._adjacent(record, side)
            step_m = (self._T_world_ego(other) - self._T_world_ego(record))[:3, 3]
        except DamagedInput:
            return float("nan")
        seconds = abs(_time_us(other) - _time_us(record)) * 1e-6
        return float(np.linalg.norm(step_m)) / seconds


NUSCENES_ATTRIBUTION = (
    "nuScenes dataset, (c) Motional AD Inc., https://www.nuscenes.org, CC BY-NC-SA 4.0 with "
    "Motional's Terms of Use; Caesar et al., CVPR 2020."
)
WORLD_ATTRIBUTION = "nightrain's built-in world: procedural scenes, rendered by this project."


def _time_us(record: Record) -> int:
    time_us = timestamp_us(record)
    if time_us is None:
        raise DamagedInput(
            Reason.BAD_RECORD,
            f"sample_data {record['token']}: timestamp {str(record.get('timestamp'))[:40]} "
            "is not a time in microseconds",
        )
    return time_us


def _description(scene: Record) -> str:
    return _writable(scene.get("description"))


def _log_name(log: Record) -> str:
    return _writable(log.get("logfile"))


def _writable(text: object) -> str:
    # JSON can contain lone surrogates, which cannot be encoded in UTF-8.
    return text.encode("utf-8", "replace").decode() if isinstance(text, str) else ""
