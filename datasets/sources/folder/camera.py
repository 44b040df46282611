"""Camera of a described folder: intrinsics of a picture, and the mounting above the road."""

from math import cos, radians, sin, tan

import numpy as np

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.frame import scaled_intrinsics
from nightrain.datasets.sources.folder.description import Description, Intrinsics


def intrinsics_of(
    settings: Intrinsics, given: np.ndarray | None, size: tuple[int, int]
) -> np.ndarray:
    """Return intrinsics (3, 3) float64 for a picture of `size` = (width, height).

    `given` (3, 3) is that of the picture's own file, if there is one. Raises DamagedInput for a
    picture of another size than the matrix is for, and for a matrix that does not fit the picture.
    """
    if settings.horizontal_fov_deg is not None:
        focal_px = size[0] / 2 / tan(radians(settings.horizontal_fov_deg) / 2)
        centre = ((size[0] - 1) / 2, (size[1] - 1) / 2)
        return np.array([[focal_px, 0, centre[0]], [0, focal_px, centre[1]], [0, 0, 1.0]])
    matrix = np.array(settings.matrix, np.float64) if given is None else given
    if settings.size is not None and size != settings.size:
        if not settings.scale_to_picture:
            raise DamagedInput(
                Reason.SIZE_MISMATCH,
                f"the picture has {size[0]}x{size[1]} pixels; the intrinsics are for "
                f"{settings.size[0]}x{settings.size[1]}. Set `scale_to_picture` if it was resized "
                "whole, or move it to another description",
            )
        matrix = scaled_intrinsics(matrix, settings.size, size)
    _check(matrix, size)
    return matrix


def _check(matrix: np.ndarray, size: tuple[int, int]) -> None:
    """Raise DamagedInput for a matrix that is not a pinhole camera or looks past the picture."""
    fx, fy, cx, cy = matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]
    zeros = matrix[[1, 2, 2], [0, 0, 1]]
    is_pinhole = np.isfinite(matrix).all() and not zeros.any() and matrix[2, 2] == 1
    fits = 0 < cx < size[0] and 0 < cy < size[1] and min(fx, fy) > size[0] / 50
    if not (is_pinhole and fits and max(fx, fy) < 50 * size[0]):
        raise DamagedInput(
            Reason.BAD_CALIBRATION,
            f"the intrinsics are {matrix.round(2).tolist()}; expected [[fx, 0, cx], [0, fy, cy], "
            f"[0, 0, 1]] in pixels of the picture, which has {size[0]}x{size[1]}. Correct them, or "
            "set `size` and `scale_to_picture` if they are for another size",
        )


def mounting(description: Description) -> np.ndarray | None:
    """Return T_ego_camera (4, 4) of a camera at a height that looks ahead; None if unknown.

    Ego: x ahead, y left, z up, with the origin on the road below the camera.
    """
    if description.camera_height_m is None:
        return None
    pitch = radians(description.camera_pitch_deg)
    T_ego_camera = np.eye(4)
    T_ego_camera[:3, 0] = 0, -1, 0  # the camera's x is to the right
    T_ego_camera[:3, 1] = -sin(pitch), 0, -cos(pitch)
    T_ego_camera[:3, 2] = cos(pitch), 0, -sin(pitch)
    T_ego_camera[2, 3] = description.camera_height_m
    return T_ego_camera
