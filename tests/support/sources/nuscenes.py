"""A tiny valid data set in nuScenes' layout: known motion, known landmarks, known everything."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pyquaternion import Quaternion

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.io.images import encode_depth_png, encode_jpeg
from nightrain.datasets.sources.base import FrameSource

VERSION = "v1.0-trainval"
SIZE = (128, 72)
INTRINSICS = [[100.0, 0.0, 63.0], [0.0, 101.0, 35.5], [0.0, 0.0, 1.0]]
CAMERAS = {  # translation and rotation in the car (x ahead, y left, z up)
    "CAM_FRONT": ([1.7, 0.0, 1.5], Quaternion(0.5, -0.5, 0.5, -0.5)),
    "CAM_BACK": ([0.0, 0.0, 1.5], Quaternion(0.5, -0.5, -0.5, 0.5)),
}
LIDAR_MOUNT = ([0.94, 0.0, 1.84], Quaternion(axis=[0, 0, 1], degrees=-90))
START_US = 1_532_402_927_000_000
STEP_US = 100_000
STEPS_PER_KEYFRAME = 3
NUM_RECORDS = 7  # keyframes are the records 0, 3 and 6
LIDAR_DELAY_US = 40_000  # the scan is later than the image: the car has moved on
CAMERA_DELAY_US = {"CAM_FRONT": 0, "CAM_BACK": 25_000}


@dataclass(frozen=True)
class Scene:
    name: str
    description: str
    speed_m_s: float = 10.0
    yaw_deg_s: float = 20.0


SCENES = (
    Scene("scene-0061", "Parked truck, construction, turn left"),  # train
    Scene("scene-0002", "Waiting at a red light", speed_m_s=0.2),  # train, standing
    Scene("scene-0103", "Many peds right", speed_m_s=0.0),  # val, standing
    Scene("scene-0625", "Heavy Rain, intersection"),  # val
    Scene("scene-1062", "Night, after rain, traffic light"),  # val
    Scene("scene-0999", "night, parking lot"),  # train
)


@dataclass
class NuScenesFolder:
    """Where the data set lies, and its tables to change and write again."""

    root: Path
    version: str = VERSION
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def write_tables(self) -> None:
        folder = self.root / self.version
        folder.mkdir(parents=True, exist_ok=True)
        for table, records in self.tables.items():
            (folder / f"{table}.json").write_text(json.dumps(records))

    def record(self, table: str, token: str) -> dict[str, Any]:
        return next(r for r in self.tables[table] if r["token"] == token)

    def file(self, token: str) -> Path:
        return self.root / self.record("sample_data", token)["filename"]


def token_of(scene: str, channel: str, number: int) -> str:
    return f"{scene}-{channel}-{number}"


def ego_pose(scene: Scene, time_us: int) -> tuple[np.ndarray, Quaternion]:
    """Translation (3,) and rotation of the car at a time: even speed, even turn."""
    seconds = (time_us - START_US) * 1e-6
    rotation = Quaternion(axis=[0, 0, 1], degrees=30 + scene.yaw_deg_s * seconds)
    return np.array([400 + scene.speed_m_s * seconds, 1000.0, 0.5]), rotation


def to_sensor(
    scene: Scene, mount: tuple[Sequence[float], Quaternion], time_us: int, points_m: np.ndarray
) -> np.ndarray:
    """World points (N, 3) in a sensor of the car at a time."""
    translation, rotation = ego_pose(scene, time_us)
    ego = (points_m - translation) @ rotation.rotation_matrix
    return (ego - np.array(mount[0])) @ mount[1].rotation_matrix


def landmarks(scene: Scene, number: int) -> np.ndarray:
    """World points (N, 3) around the car: what the scan of record `number` hits."""
    rng = np.random.default_rng(number)
    ego = rng.uniform([-30, -12, -1.0], [30, 12, 5.0], (1500, 3))
    range_m = np.hypot(ego[:, 0], ego[:, 1])
    up = (ego[:, 2] - LIDAR_MOUNT[0][2]) / range_m  # the LiDAR's lasers look from -31 to 11 degrees
    ego = ego[(np.abs(ego[:, 0]) > 5) & (up > -0.5) & (up < 0.15)]
    translation, rotation = ego_pose(scene, START_US + number * STEP_US)
    return ego @ rotation.rotation_matrix.T + translation


def write_lidar(path: Path, points_m: np.ndarray) -> None:
    points = np.zeros((len(points_m), 5), "<f4")
    points[:, :3] = points_m
    elevation_deg = np.degrees(np.arctan2(points_m[:, 2], np.hypot(*points_m[:, :2].T)))
    points[:, 3] = np.arange(len(points)) % 120
    points[:, 4] = np.rint((elevation_deg + 30.67) * 31 / 41.34).clip(0, 31)  # the nearest laser
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(points.tobytes())


def build(
    root: Path,
    version: str = VERSION,
    scenes: Sequence[Scene] = SCENES,
    exact_depth: Callable[[str, int], np.ndarray] | None = None,
) -> NuScenesFolder:
    """Write the data set below `root` and return its tables."""
    folder = NuScenesFolder(root, version, _fixed_tables(scenes))
    for scene in scenes:
        for number in range(NUM_RECORDS):
            _add_step(folder, scene, number, exact_depth)
    (root / "maps").mkdir(parents=True, exist_ok=True)
    (root / "maps" / "mask.png").write_bytes(encode_depth_png(np.ones((2, 2), np.float32)))
    folder.write_tables()
    return folder


def failures(source: FrameSource) -> dict[str, Reason]:
    """Reason by token of every frame that cannot be read."""
    failed = {}
    for ref in source.select("all"):
        try:
            source.load(ref)
        except DamagedInput as error:
            failed[ref.source_id] = error.reason
    return failed


def _fixed_tables(scenes: Sequence[Scene]) -> dict[str, list[dict[str, Any]]]:
    channels = [*CAMERAS, "LIDAR_TOP"]
    log = {"token": "log-0", "logfile": "n015", "vehicle": "n015", "location": "singapore"}
    map_record = {"token": "map-0", "log_tokens": ["log-0"], "category": "semantic_prior"}
    tables: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("instance", "sample_annotation", "sample", "sample_data", "ego_pose")
    }
    for name in ("category", "attribute", "visibility"):
        tables[name] = [{"token": f"{name}-0", "name": "x", "description": ""}]
    tables["log"] = [{**log, "date_captured": "2018-07-24"}]
    tables["map"] = [{**map_record, "filename": "maps/mask.png"}]
    tables["sensor"] = [
        {"token": c, "channel": c, "modality": "camera" if c in CAMERAS else "lidar"}
        for c in channels
    ]
    tables["scene"] = [_scene_record(scene) for scene in scenes]
    tables["calibrated_sensor"] = [_calibration(s, c) for s in scenes for c in channels]
    return tables


def _scene_record(scene: Scene) -> dict[str, Any]:
    return {
        "token": f"token-{scene.name}",
        "log_token": "log-0",
        "nbr_samples": 3,
        "name": scene.name,
        "description": scene.description,
        "first_sample_token": f"{scene.name}-0",
        "last_sample_token": f"{scene.name}-6",
    }


def _calibration(scene: Scene, channel: str) -> dict[str, Any]:
    translation, rotation = CAMERAS.get(channel, LIDAR_MOUNT)
    return {
        "token": f"calibration-{scene.name}-{channel}",
        "sensor_token": channel,
        "translation": list(translation),
        "rotation": list(rotation.elements),
        "camera_intrinsic": INTRINSICS if channel in CAMERAS else [],
    }


def _add_step(
    folder: NuScenesFolder,
    scene: Scene,
    number: int,
    exact_depth: Callable[[str, int], np.ndarray] | None,
) -> None:
    is_key = number % STEPS_PER_KEYFRAME == 0
    time_us = START_US + number * STEP_US
    if is_key:
        _add_sample(folder, scene, number, time_us)
        record = _add_sample_data(folder, scene, "LIDAR_TOP", number, time_us + LIDAR_DELAY_US)
        points_m = to_sensor(scene, LIDAR_MOUNT, record["timestamp"], landmarks(scene, number))
        write_lidar(folder.root / record["filename"], points_m)
    for channel in CAMERAS:
        time_camera_us = time_us + CAMERA_DELAY_US[channel]
        record = _add_sample_data(folder, scene, channel, number, time_camera_us)
        path = folder.root / record["filename"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_jpeg(_image(record["token"])))
        if exact_depth is not None:
            truth = folder.root / "truth" / "depth" / channel / f"{path.stem}.png"
            truth.parent.mkdir(parents=True, exist_ok=True)
            truth.write_bytes(encode_depth_png(exact_depth(channel, number)))


def _add_sample(folder: NuScenesFolder, scene: Scene, number: int, time_us: int) -> None:
    before, after = number - STEPS_PER_KEYFRAME, number + STEPS_PER_KEYFRAME
    folder.tables["sample"].append(
        {
            "token": f"{scene.name}-{number}",
            "timestamp": time_us,
            "scene_token": f"token-{scene.name}",
            "prev": f"{scene.name}-{before}" if before >= 0 else "",
            "next": f"{scene.name}-{after}" if after < NUM_RECORDS else "",
        }
    )


def _add_sample_data(
    folder: NuScenesFolder, scene: Scene, channel: str, number: int, time_us: int
) -> dict[str, Any]:
    is_camera, is_key = channel in CAMERAS, number % STEPS_PER_KEYFRAME == 0
    token = token_of(scene.name, channel, number)
    name = f"n015-{scene.name}__{channel}__{time_us}" + (".jpg" if is_camera else ".pcd.bin")
    translation, rotation = ego_pose(scene, time_us)
    pose = {"translation": list(translation), "rotation": list(rotation.elements)}
    folder.tables["ego_pose"].append({"token": token, "timestamp": time_us, **pose})
    step = 1 if is_camera else STEPS_PER_KEYFRAME
    record = {
        "token": token,
        "sample_token": f"{scene.name}-{number // STEPS_PER_KEYFRAME * STEPS_PER_KEYFRAME}",
        "ego_pose_token": token,
        "calibrated_sensor_token": f"calibration-{scene.name}-{channel}",
        "timestamp": time_us,
        "fileformat": "jpg" if is_camera else "pcd",
        "is_key_frame": is_key,
        "width": SIZE[0] if is_camera else 0,
        "height": SIZE[1] if is_camera else 0,
        "filename": f"{'samples' if is_key else 'sweeps'}/{channel}/{name}",
        "prev": token_of(scene.name, channel, number - step) if number >= step else "",
        "next": token_of(scene.name, channel, number + step) if number + step < NUM_RECORDS else "",
    }
    folder.tables["sample_data"].append(record)
    return record


def _image(token: str) -> np.ndarray:
    rng = np.random.default_rng(list(token.encode()))
    coarse = rng.integers(0, 256, (9, 16, 3), np.uint8)
    return np.repeat(np.repeat(coarse, 8, axis=0), 8, axis=1)  # (72, 128, 3)
