"""Flat-world depth: approximate depth from the road plane alone, for images without depth."""

import cv2
import numpy as np

from nightrain.datasets.geometry.completion import FAR_M, WORK_WIDTH
from nightrain.datasets.geometry.sky_mask import enlarged, sky_mask


def flat_world_depth(
    image: np.ndarray, intrinsics: np.ndarray, T_ego_camera: np.ndarray
) -> np.ndarray:
    """Dense depth (H, W) float32 in metres for an image (H, W, 3) uint8, sky = inf.

    Below the horizon it is the depth of the road, up to 100 m, even where an object hides the road.
    It is good enough to render darkness, wetness and fog, but not for labels.
    """
    height, width = image.shape[:2]
    inverse = plane_inverse_depth((height, width), intrinsics, T_ego_camera)
    depth_m = 1 / np.maximum(inverse, np.float32(1 / FAR_M))
    work = (min(WORK_WIDTH, width), max(2, round(height * min(WORK_WIDTH, width) / width)))
    small = cv2.resize(image, work, interpolation=cv2.INTER_AREA)
    ground = cv2.resize(inverse, work, interpolation=cv2.INTER_LINEAR) > 0  # (h, w)
    sky = sky_mask(small, np.zeros_like(ground), np.argmax(ground, axis=0))
    depth_m[enlarged(sky, (width, height))] = np.inf
    return depth_m


def plane_inverse_depth(
    shape: tuple[int, int], intrinsics: np.ndarray, T_ego_camera: np.ndarray
) -> np.ndarray:
    """Inverse depth (H, W) float32 in 1/m of the ego frame's plane z = 0; 0 above the horizon.

    With the pixel's ray r = R K^-1 [u, v, 1] in the ego frame and the camera at height h, the plane
    is at depth -h / r_z, which has an inverse that is affine in the pixel.
    """
    down = -(T_ego_camera[:3, :3] @ np.linalg.inv(intrinsics))[2]  # (3,)
    v, u = np.indices(shape)
    inverse = (down[0] * u + down[1] * v + down[2]) / T_ego_camera[2, 3]
    return np.maximum(inverse, 0).astype(np.float32)
