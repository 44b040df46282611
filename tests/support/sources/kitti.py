"""A tiny valid folder in KITTI's layout: known calibration, motion, landmarks, times and depth."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import atan, cos, exp, log, pi, radians, tan
from pathlib import Path

import cv2
import numpy as np
from pyquaternion import Quaternion

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.frame import Frame, FrameRef
from nightrain.datasets.io.images import encode_depth_png
from nightrain.datasets.sources.base import FrameSource

DATE = "2011_09_26"
DRIVE = f"{DATE}_drive_0001_sync"
OTHER_DRIVE = f"{DATE}_drive_0002_sync"
SIZE = (128, 72)
FULL_SIZE = (1242, 375)  # what the KB crop needs
NUM_FRAMES = 5
NUM_SCANS = 4  # the last frame has no scan, as happens in KITTI
START_US = 1_317_042_145_964_389  # 2011-09-26 13:02:25.964389
STEP_US = 103_000
SPEED_M_S, YAW_RATE = 9.0, 0.2  # rad/s
EARTH_RADIUS_M = 6378137.0
LAT_DEG, LON_DEG, ALT_M = 49.015, 8.434, 116.4


@dataclass(frozen=True)
class Camera:
    """A rectified camera: it sees X_rect + shift."""

    name: str
    shift_m: tuple[float, float, float]


CAMERAS = (Camera("image_02", (0.0599, -0.0004, 0.0027)), Camera("image_03", (-0.4729, 0.002, 0.0)))


def intrinsics(size: tuple[int, int] = SIZE) -> np.ndarray:
    focal_px = 0.58 * size[0]
    return np.array([[focal_px, 0, size[0] / 2 - 11.4], [0, focal_px, 0.46 * size[1]], [0, 0, 1.0]])


def _rigid(rotation: Quaternion, translation: Sequence[float]) -> np.ndarray:
    transform = np.eye(4)
    transform[:3, :3] = rotation.rotation_matrix
    transform[:3, 3] = translation
    return transform


_AXES = Quaternion(0.5, 0.5, -0.5, 0.5)  # x ahead, y left, z up -> x right, y down, z ahead
T_CAM0_VELO = _rigid(Quaternion(axis=[1, 0.3, 0], degrees=0.9) * _AXES, [-0.004, -0.076, -0.272])
T_RECT_CAM0 = _rigid(Quaternion(axis=[0.2, 1, 0.5], degrees=0.7), [0, 0, 0])
T_VELO_IMU = _rigid(Quaternion(axis=[1, 0, 0.1], degrees=-0.8), [-0.81, 0.32, -0.8])


def T_camera_velo(camera: Camera) -> np.ndarray:
    return _rigid(Quaternion(), camera.shift_m) @ T_RECT_CAM0 @ T_CAM0_VELO


def roll_pitch_yaw(number: int) -> tuple[float, float, float]:
    return 0.02, 0.01, 0.5 + YAW_RATE * number * STEP_US * 1e-6


def T_world_imu(number: int) -> np.ndarray:
    """The car's pose: even speed, even turn, on a slope; world: east, north, up, 0 at frame 0."""
    roll, pitch, yaw = roll_pitch_yaw(number)
    along = SPEED_M_S / YAW_RATE * np.array([np.sin(yaw) - np.sin(0.5), np.cos(0.5) - np.cos(yaw)])
    rotation = Quaternion(axis=[0, 0, 1], radians=yaw) * Quaternion(axis=[0, 1, 0], radians=pitch)
    rotation *= Quaternion(axis=[1, 0, 0], radians=roll)
    return _rigid(rotation, [along[0], along[1], 0.01 * number])


def to_camera(camera: Camera, number: int, world_m: np.ndarray) -> np.ndarray:
    """World points (N, 3) in a camera at a frame."""
    T_camera_world = T_camera_velo(camera) @ T_VELO_IMU @ np.linalg.inv(T_world_imu(number))
    return world_m @ T_camera_world[:3, :3].T + T_camera_world[:3, 3]


def landmarks() -> np.ndarray:
    """World points (N, 3) before the car, standing still; what every scan hits."""
    rng = np.random.default_rng(5)
    ahead = rng.uniform([-10, -15, -1.5], [60, 15, 4], (900, 3))
    # The road around the car, which every scan sees.
    angle, range_m = rng.uniform(-np.pi, np.pi, 400), rng.uniform(4.5, 20, 400)
    road = np.stack([range_m * np.cos(angle), range_m * np.sin(angle), np.full(400, -0.7)], axis=1)
    ahead = np.concatenate([ahead, road])
    T = T_world_imu(0)
    return ahead @ T[:3, :3].T + T[:3, 3]


def exact_depth_m(number: int, size: tuple[int, int]) -> np.ndarray:
    """What the improved ground truth of a frame says, in steps of 1/256 m."""
    rng = np.random.default_rng(100 + number)
    depth_m = np.rint(rng.uniform(2, 80, size[::-1]) * 256) / 256
    return np.where(rng.random(size[::-1]) < 0.2, depth_m, 0).astype(np.float32)


def picture(drive: str, camera: str, number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    rng = np.random.default_rng([*drive.encode(), *camera.encode(), number])
    coarse = rng.integers(0, 256, (5, 9, 3), np.uint8)
    return cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR)  # (H, W, 3)


def encode_png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()


def source_id(number: int, camera: str = "image_02", drive: str = DRIVE) -> str:
    return f"{DATE}/{drive}/{camera}/{number:010d}"


def build(root: Path, *, size: tuple[int, int] = SIZE, drives: Sequence[str] = (DRIVE,)) -> Path:
    """Write raw drives with all their parts below `root`."""
    write_calibration(root, size)
    for drive in drives:
        folder = root / DATE / drive
        for camera in CAMERAS:
            _write_times(folder / camera.name)
            for number in range(NUM_FRAMES):
                data = encode_png(picture(drive, camera.name, number, size))
                _write(folder / camera.name / "data" / f"{number:010d}.png", data)
        for number in range(NUM_FRAMES):
            _write(folder / "oxts" / "data" / f"{number:010d}.txt", oxts_line(number).encode())
        for number in range(NUM_SCANS):
            _write(folder / "velodyne_points" / "data" / f"{number:010d}.bin", scan(number))
    return root


def write_depth_maps(
    root: Path, numbers: Sequence[int], kind: str = "groundtruth", part: str = "train"
) -> None:
    """KITTI-depth's maps of DRIVE's image_02, beside the raw drives."""
    for number in numbers:
        path = root / part / DRIVE / "proj_depth" / kind / "image_02" / f"{number:010d}.png"
        _write(path, encode_depth_png(exact_depth_m(number, SIZE)))


def write_calibration(root: Path, size: tuple[int, int] = SIZE) -> None:
    entries = {"S_rect_02": size, "R_rect_00": T_RECT_CAM0[:3, :3]}
    for camera in CAMERAS:
        number, K = camera.name[-2:], intrinsics(size)
        entries[f"S_rect_{number}"] = size
        entries[f"P_rect_{number}"] = np.column_stack([K, K @ np.array(camera.shift_m)])
    _write(root / DATE / "calib_cam_to_cam.txt", _calibration_text(entries))
    for name, transform in (("velo_to_cam", T_CAM0_VELO), ("imu_to_velo", T_VELO_IMU)):
        text = _calibration_text({"R": transform[:3, :3], "T": transform[:3, 3]})
        _write(root / DATE / f"calib_{name}.txt", text)


def oxts_line(number: int) -> str:
    """30 numbers of a packet: the pose by the inverse of the Mercator formula, then zeros."""
    T = T_world_imu(number)
    scale_m = cos(radians(LAT_DEG)) * EARTH_RADIUS_M
    lon_deg = LON_DEG + T[0, 3] / scale_m * 180 / pi
    north = log(tan(pi / 4 + radians(LAT_DEG) / 2)) + T[1, 3] / scale_m
    lat_deg = (2 * atan(exp(north)) - pi / 2) * 180 / pi
    pose = (lat_deg, lon_deg, ALT_M + T[2, 3], *roll_pitch_yaw(number))
    return " ".join([*(f"{value:.14g}" for value in pose), *["0"] * 24])


def scan(number: int) -> bytes:
    """A .bin of the landmarks as the Velodyne sees them at a frame."""
    T_velo_world = T_VELO_IMU @ np.linalg.inv(T_world_imu(number))
    points = np.zeros((len(landmarks()), 4), "<f4")
    points[:, :3] = landmarks() @ T_velo_world[:3, :3].T + T_velo_world[:3, 3]
    return points.tobytes()


def ref_of(source: FrameSource, name: str) -> FrameRef:
    return next(ref for ref in source.select("all") if ref.source_id == name)


def load(source: FrameSource, number: int, camera: str = "image_02") -> Frame:
    return source.load(ref_of(source, source_id(number, camera)))


def raw(folder: Path, name: str) -> Path:
    return folder / DATE / DRIVE / name


def failures(source: FrameSource) -> dict[str, Reason]:
    """Reason by source id of every frame that cannot be read."""
    failed = {}
    for ref in source.select("all"):
        try:
            source.load(ref)
        except DamagedInput as error:
            failed[ref.source_id] = error.reason
    return failed


def _write_times(folder: Path) -> None:
    lines = []
    for number in range(NUM_FRAMES):
        time_us = START_US + number * STEP_US
        whole = np.datetime64(time_us // 1_000_000, "s").item()
        lines.append(f"{whole:%Y-%m-%d %H:%M:%S}.{time_us % 1_000_000:06d}389")
    _write(folder / "timestamps.txt", "\n".join([*lines, ""]).encode())


def _calibration_text(entries: dict[str, np.ndarray | tuple[int, int]]) -> bytes:
    lines = ["calib_time: 09-Jan-2012 13:57:47"]
    for key, values in entries.items():
        lines.append(f"{key}: " + " ".join(f"{x:.9e}" for x in np.ravel(values)))
    return "\n".join([*lines, ""]).encode()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
