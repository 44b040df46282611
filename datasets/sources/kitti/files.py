"""Readers of single KITTI files, checked when a frame is loaded."""

import cv2
import numpy as np

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.geometry.crops import Crop
from nightrain.datasets.geometry.projection import project_points, transform_points
from nightrain.datasets.io.images import (
    MAX_FILE_BYTES,
    JpegImage,
    decode_depth_png,
    decode_jpeg,
    decode_png,
    encode_jpeg,
)
from nightrain.datasets.io.untrusted import Files
from nightrain.datasets.sources.kitti.calibration import CameraCalibration
from nightrain.datasets.sources.lidar_sensors import KITTI_LIDAR
from nightrain.datasets.sources.point_cloud import read_points

JPEG_QUALITY = 95


def read_image(files: Files, name: str, size: tuple[int, int], crop: Crop | None) -> JpegImage:
    """Read an 8-bit PNG or JPEG of `size` = (width, height), crop it and return it as a JPEG.

    An uncropped JPEG keeps its bytes; anything else is encoded at quality 95. Raises DamagedInput.
    """
    data = files.read(name, MAX_FILE_BYTES)
    try:
        pixels = decode_png(data) if name.endswith(".png") else decode_jpeg(data)
    except DamagedInput as error:
        raise DamagedInput(error.reason, f"image {name}: {error}") from error
    if pixels.shape[1::-1] != size:
        raise DamagedInput(
            Reason.SIZE_MISMATCH,
            f"image {name} is {pixels.shape[1::-1]} pixels (width, height); its calibration says "
            f"{size}. Use the images of KITTI's _sync drives at full size",
        )
    if pixels.ndim == 2:  # a grey camera
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    if crop is None and not name.endswith(".png"):
        return JpegImage(data)
    return JpegImage(encode_jpeg(pixels if crop is None else crop.apply(pixels), JPEG_QUALITY))


def read_velodyne(files: Files, name: str) -> np.ndarray:
    """Read a scan's points (N, 3) float32 in metres, in the Velodyne frame; raises DamagedInput."""
    return read_points(files, name, KITTI_LIDAR)


def scan_depth_m(files: Files, name: str, camera: CameraCalibration) -> np.ndarray | None:
    """Depth (H, W) in metres of a scan; None if it is absent or empty. Raises DamagedInput.

    KITTI's sync data compensate for the car's motion. Points behind the LiDAR are dropped first: no
    camera faces backwards.
    """
    try:
        velo_m = read_velodyne(files, name)  # (N, 3)
    except DamagedInput as error:
        if error.reason is Reason.MISSING_FILE:
            return None
        raise
    if not len(velo_m):
        return None
    points_m = transform_points(camera.T_camera_velo, velo_m[velo_m[:, 0] >= 0])
    return project_points(points_m, camera.intrinsics, camera.size)


def read_depth_map(files: Files, name: str, size: tuple[int, int]) -> np.ndarray:
    """Read a KITTI-depth map (H, W) float32 in metres, 0 = none; raises DamagedInput."""
    try:
        depth_m = decode_depth_png(files.read(name, MAX_FILE_BYTES))
    except DamagedInput as error:
        raise DamagedInput(error.reason, f"depth map {name}: {error}") from error
    if depth_m.shape[::-1] != size:
        raise DamagedInput(
            Reason.SIZE_MISMATCH,
            f"{name} is {depth_m.shape[::-1]} pixels (width, height); its image is {size}",
        )
    return depth_m
