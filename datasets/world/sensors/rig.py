"""Sensor rig of the ego vehicle: x forward, y left, z up, origin under the rear axle."""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraMount:
    """Mount of a camera: position, direction, field of view and firing time."""

    place_m: tuple[float, float, float]
    yaw_deg: float  # to the left
    pitch_deg: float = 0.6  # downwards
    f_width: float = 0.75  # focal length as a share of the image's width
    lag_us: int = 0  # delay of its keyframe after the LiDAR's

    def T_ego_camera(self) -> np.ndarray:
        """Pose (4, 4) of the camera (x right, y down, z forward) on the vehicle, metres."""
        yaw, pitch = np.radians(self.yaw_deg), np.radians(self.pitch_deg)
        forward = np.array(
            [np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), -np.sin(pitch)]
        )
        right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
        T = np.eye(4)
        T[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
        T[:3, 3] = self.place_m
        return T

    def intrinsics(self, size: tuple[int, int]) -> np.ndarray:
        """Intrinsics (3, 3) for a (width, height) image; pixel centres at whole numbers."""
        width, height = size
        f_px = self.f_width * width
        return np.array(
            [[f_px, 0, 0.506 * width - 0.5], [0, f_px, 0.535 * height - 0.5], [0, 0, 1.0]]
        )


CAMERAS = {
    "CAM_FRONT": CameraMount(place_m=(1.70, 0.0, 1.51), yaw_deg=0.3, lag_us=-35_000),
    "CAM_FRONT_RIGHT": CameraMount(place_m=(1.55, -0.49, 1.50), yaw_deg=-55.0, lag_us=-27_000),
    "CAM_BACK_RIGHT": CameraMount(place_m=(1.05, -0.48, 1.56), yaw_deg=-110.0, lag_us=-20_000),
    "CAM_BACK": CameraMount(place_m=(0.05, 0.0, 1.57), yaw_deg=180.0, f_width=0.51, lag_us=-10_000),
    "CAM_BACK_LEFT": CameraMount(place_m=(1.05, 0.48, 1.56), yaw_deg=110.0, lag_us=-1_000),
    "CAM_FRONT_LEFT": CameraMount(place_m=(1.55, 0.49, 1.50), yaw_deg=55.0, lag_us=-43_000),
}

STEREO_BASELINE_M = 0.54  # as in KITTI
STEREO_OF = {"CAM_FRONT": "CAM_FRONT_STEREO"}  # a camera and its partner to the right


def _partner(mount: CameraMount) -> CameraMount:
    """Stereo partner of a camera: same direction and time, one baseline to the right."""
    place_m = mount.T_ego_camera() @ [STEREO_BASELINE_M, 0.0, 0.0, 1.0]
    x, y, z = (float(v) for v in place_m[:3])
    return replace(mount, place_m=(x, y, z))


MOUNTS = CAMERAS | {right: _partner(CAMERAS[left]) for left, right in STEREO_OF.items()}


def T_ego_lidar() -> np.ndarray:
    """Pose (4, 4) of the LiDAR (x right, y forward, z up) on the roof, metres."""
    T = np.eye(4)
    T[:3, :3] = [[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    T[:3, 3] = (0.94, 0.0, 1.84)
    return T
