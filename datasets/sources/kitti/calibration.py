"""Calibration of one recording date of KITTI raw, and of rectified cameras in general.

Frames (Geiger et al., IJRR 2013): cameras x right, y down, z ahead; Velodyne and IMU x ahead, y
left, z up. Images of `_sync` drives are rectified: all cameras share one orientation, that of
camera 0 after R_rect_00, and one intrinsic matrix; they differ only by a shift.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.geometry.projection import invert_rigid
from nightrain.datasets.io.untrusted import Files

# From the published sensor setup. The Velodyne is assumed to be level: in the sample drive of the
# tests, its axes tilt by up to 0.7 degrees against the road, which is 1.70 to 1.74 m below.
VELODYNE_HEIGHT_M = 1.73
MAX_CALIBRATION_BYTES = 1 << 16
ORTHONORMAL_TOLERANCE = 1e-3  # the files have seven digits
CAMERAS = ("image_00", "image_01", "image_02", "image_03")


@dataclass(frozen=True, slots=True)
class CameraCalibration:
    """Calibration of one rectified camera."""

    size: tuple[int, int]  # (width, height), pixels
    intrinsics: np.ndarray  # (3, 3) float64, pixels
    T_camera_velo: np.ndarray  # (4, 4) float64, metres
    T_ego_camera: np.ndarray  # (4, 4) float64, metres; ego: below the Velodyne, on the road


@dataclass(frozen=True, slots=True)
class Calibration:
    """Calibration of all sensors of one date."""

    cameras: Mapping[str, CameraCalibration]  # by name, such as "image_02"
    T_velo_imu: np.ndarray | None  # (4, 4) float64, metres; None if the file is absent


def read_calibration(files: Files, date: str) -> Calibration:
    """Read calib_{cam_to_cam,velo_to_cam,imu_to_velo}.txt of a date; raises DamagedInput.

    calib_imu_to_velo.txt may be absent: only poses need it.
    """
    cam_to_cam = read_entries(files, f"{date}/calib_cam_to_cam.txt")
    T_cam0_velo = read_entries(files, f"{date}/calib_velo_to_cam.txt").rigid("R", "T")
    T_rect_cam0 = cam_to_cam.rigid("R_rect_00", None)
    present = [name for name in CAMERAS if f"P_rect_{name[-2:]}" in cam_to_cam.values]
    T_rect_velo = T_rect_cam0 @ T_cam0_velo
    return Calibration(
        cameras={name: _camera(cam_to_cam, name[-2:], T_rect_velo) for name in present},
        T_velo_imu=_imu(files, date),
    )


@dataclass(frozen=True, slots=True)
class Entries:
    """The `key: numbers` lines of one calibration file."""

    name: str
    values: Mapping[str, str]

    def numbers(self, key: str, shape: tuple[int, ...]) -> np.ndarray:
        """Finite numbers of an entry; raises DamagedInput."""
        words = self.values.get(key, "").split()
        try:
            numbers = np.array([float(word) for word in words], np.float64)
        except ValueError:
            numbers = np.zeros(0)
        if numbers.size != np.prod(shape) or not np.isfinite(numbers).all():
            found = "nothing" if not words else repr(" ".join(words)[:120])
            raise self.error(f"{key} is {found}; expected {np.prod(shape)} finite numbers")
        return numbers.reshape(shape)

    def rigid(self, rotation: str, translation: str | None) -> np.ndarray:
        """Rigid transform (4, 4) of a rotation and a translation; raises DamagedInput."""
        transform = np.eye(4)
        transform[:3, :3] = self.numbers(rotation, (3, 3))
        if translation is not None:
            transform[:3, 3] = self.numbers(translation, (3,))
        return self._checked(transform, rotation)

    def rigid_3x4(self, key: str) -> np.ndarray:
        """Rigid transform (4, 4) of the first three rows; raises DamagedInput."""
        return self._checked(np.vstack([self.numbers(key, (3, 4)), [0, 0, 0, 1]]), key)

    def _checked(self, transform: np.ndarray, rotation: str) -> np.ndarray:
        drift = np.abs(transform[:3, :3] @ transform[:3, :3].T - np.eye(3)).max()
        if drift > ORTHONORMAL_TOLERANCE or np.linalg.det(transform[:3, :3]) < 0:
            raise self.error(f"{rotation} is not a rotation (off by {drift:.2g})")
        return transform

    def error(self, problem: str) -> DamagedInput:
        """Error that names the file."""
        return DamagedInput(
            Reason.BAD_CALIBRATION, f"{self.name}: {problem}; copy it from KITTI's calib.zip"
        )


def read_entries(files: Files, name: str) -> Entries:
    """Read the entries of a calibration file; raises DamagedInput."""
    text = files.read_text(name, MAX_CALIBRATION_BYTES)
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return Entries(name, {key.strip(): value for key, value in pairs})


def _imu(files: Files, date: str) -> np.ndarray | None:
    try:
        return read_entries(files, f"{date}/calib_imu_to_velo.txt").rigid("R", "T")
    except DamagedInput as error:
        if error.reason is Reason.MISSING_FILE:
            return None
        raise


def _camera(entries: Entries, number: str, T_rect_velo: np.ndarray) -> CameraCalibration:
    width, height = entries.numbers(f"S_rect_{number}", (2,))
    size = int(width), int(height)
    return rectified_camera(entries, f"P_rect_{number}", size, T_rect_velo)


def rectified_camera(
    entries: Entries, key: str, size: tuple[int, int], T_rect_velo: np.ndarray
) -> CameraCalibration:
    """Split P_rect = K [I | shift]: K is the left part, the shift K^-1 times the last column.

    The readme's shift is P[0, 3] / fx. The other two components of K^-1 P[:, 3] are below 5 mm;
    with all three, K [I | shift] equals P_rect exactly. Raises DamagedInput.
    """
    projection = entries.numbers(key, (3, 4))
    intrinsics = projection[:, :3].copy()
    focal_px, rest = intrinsics[[0, 1], [0, 1]], intrinsics[[1, 2, 2], [0, 0, 1]]
    if not (focal_px > 1).all() or rest.any() or intrinsics[2, 2] != 1.0:
        raise entries.error(f"{key} is not a pinhole matrix [fx s cx; 0 fy cy; 0 0 1]")
    T_camera_rect = np.eye(4)
    T_camera_rect[:3, 3] = np.linalg.solve(intrinsics, projection[:, 3])
    T_ego_velo = np.eye(4)
    T_ego_velo[2, 3] = VELODYNE_HEIGHT_M
    T_camera_velo = T_camera_rect @ T_rect_velo
    return CameraCalibration(
        size=size,
        intrinsics=intrinsics,
        T_camera_velo=T_camera_velo,
        T_ego_camera=T_ego_velo @ invert_rigid(T_camera_velo),
    )
