"""Readers of single nuScenes records and their files, checked when a frame is loaded."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.geometry.projection import rigid_transform
from nightrain.datasets.io.images import MAX_FILE_BYTES, JpegImage, decode_depth_png
from nightrain.datasets.io.untrusted import Files
from nightrain.datasets.sources.lidar_sensors import LidarSensor
from nightrain.datasets.sources.point_cloud import read_points

Record = Mapping[str, Any]

MAX_TRANSLATION_M = 1e7  # the radius of the Earth is 6.4e6


def read_image(files: Files, sample_data: Record) -> JpegImage:
    """Read the image of a sample_data record and decode it once as a check; raises DamagedInput."""
    name, expected = sample_data.get("filename"), _image_size(sample_data)
    image = JpegImage(files.read(name, MAX_FILE_BYTES))
    try:
        if image.size() != expected:
            raise DamagedInput(
                Reason.SIZE_MISMATCH,
                f"{image.size()} pixels (width, height); its sample_data record says {expected}",
            )
        image.pixels()
    except DamagedInput as error:
        raise DamagedInput(error.reason, f"image {name}: {error}") from error
    return image


def read_lidar_points(files: Files, sample_data: Record, sensor: LidarSensor) -> np.ndarray:
    """Read points (N, 3) float32 of a .pcd.bin, in metres, LiDAR frame; raises DamagedInput."""
    return read_points(files, sample_data.get("filename"), sensor)


def read_exact_depth(files: Files, name: str, size: tuple[int, int]) -> np.ndarray | None:
    """Read rendered depth (H, W) float32 in metres; None if there is no such file."""
    try:
        data = files.read(name, MAX_FILE_BYTES)
    except DamagedInput as error:
        if error.reason is Reason.MISSING_FILE:
            return None
        raise
    depth_m = decode_depth_png(data)
    if depth_m.shape[::-1] != size:
        raise DamagedInput(
            Reason.SIZE_MISMATCH, f"{name} is {depth_m.shape[::-1]} pixels, its image {size}"
        )
    return depth_m


def pose(record: Record, table: str, reason: Reason) -> np.ndarray:
    """`T_world_ego` of an ego_pose or `T_ego_sensor` of a calibrated_sensor record, (4, 4)."""
    try:
        transform = rigid_transform(record.get("translation"), record.get("rotation"))
        if np.abs(transform[:3, 3]).max() > MAX_TRANSLATION_M:
            raise ValueError(f"the translation {record['translation']} m is larger than the Earth")
    except ValueError as error:
        raise DamagedInput(reason, f"{table} {record['token']}: {error}") from error
    return transform


def camera_intrinsics(calibrated_sensor: Record) -> np.ndarray:
    """Intrinsics (3, 3) float64 in pixels; raises DamagedInput(BAD_CALIBRATION)."""
    values = calibrated_sensor.get("camera_intrinsic")
    try:
        matrix = np.array(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        matrix = np.zeros(0)
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or not _is_pinhole(matrix):
        raise DamagedInput(
            Reason.BAD_CALIBRATION,
            f"calibrated_sensor {calibrated_sensor['token']}: camera_intrinsic is "
            f"{str(values)[:120]}; expected [[fx, s, cx], [0, fy, cy], [0, 0, 1]] in pixels",
        )
    return matrix


def timestamp_us(record: Record) -> int | None:
    """Time of a record in microseconds; None unless it is a positive 63-bit integer."""
    value = record.get("timestamp")
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 < value < 1 << 63 else None


def _image_size(sample_data: Record) -> tuple[int, int]:
    width, height = sample_data.get("width"), sample_data.get("height")
    if not isinstance(width, int) or not isinstance(height, int):
        raise DamagedInput(
            Reason.BAD_RECORD,
            f"sample_data {sample_data['token']}: width {str(width)[:20]} and height "
            f"{str(height)[:20]} are not numbers of pixels",
        )
    return width, height


def _is_pinhole(matrix: np.ndarray) -> bool:
    focal_px = matrix[[0, 1], [0, 1]]
    zeros = matrix[[1, 2, 2], [0, 0, 1]]
    return bool((focal_px > 1.0).all() and (np.abs(matrix) < 1e6).all()) and bool(
        (zeros == 0.0).all() and matrix[2, 2] == 1.0
    )
