"""What pictures are like in numbers: re-projection error, luminance, noise."""

from dataclasses import dataclass

import cv2
import numpy as np

SSIM_WEIGHT = 0.85
C1, C2 = 0.01**2, 0.03**2
ROUNDING_PX = 1e-6  # by which a pixel on the rim may miss it
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_LAPLACIANS = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)


@dataclass(frozen=True)
class Luminance:
    """Of one picture, in 8-bit steps."""

    mean: float
    spread: float
    noise: float


def luminance(image: np.ndarray) -> Luminance:
    """Mean and standard deviation of the luma of (H, W, 3) uint8, and its noise."""
    luma = image.astype(np.float32) @ LUMA
    return Luminance(float(luma.mean()), float(luma.std()), noise_sigma(luma))


def noise_sigma(luma: np.ndarray) -> float:
    """Standard deviation of white noise in (H, W), blind to straight edges (Immerkaer 1996)."""
    response = cv2.filter2D(luma.astype(np.float32), -1, _LAPLACIANS)[1:-1, 1:-1]
    return float(np.sqrt(np.pi / 2) * np.abs(response).mean() / 6)


def photometric_error(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """0.85 (1 - SSIM) / 2 + 0.15 L1 of (H, W, 3) uint8 per pixel (H, W), as md4all trains with.

    SSIM of 3x3 windows over values in [0, 1], clipped, mean of the channels (Godard et al. 2019).
    """
    x, y = a.astype(np.float32) / 255, b.astype(np.float32) / 255
    mean_x, mean_y = _window(x), _window(y)
    var_x, var_y = _window(x * x) - mean_x**2, _window(y * y) - mean_y**2
    covariance = _window(x * y) - mean_x * mean_y
    above = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    below = (mean_x**2 + mean_y**2 + C1) * (var_x + var_y + C2)
    unlike = np.clip((1 - above / below) / 2, 0, 1).mean(-1)
    return SSIM_WEIGHT * unlike + (1 - SSIM_WEIGHT) * np.abs(x - y).mean(-1)


def warp(
    image: np.ndarray, depth_m: np.ndarray, intrinsics: np.ndarray, T_other_this: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Another image (H, W, 3) seen from this camera by its depth (H, W), and where that holds."""
    height, width = depth_m.shape
    u, v = reprojected(depth_m, intrinsics, T_other_this)
    held = np.isfinite(u)
    for x, last in ((u, width - 1), (v, height - 1)):
        held &= (x > -ROUNDING_PX) & (x < last + ROUNDING_PX)
    maps = (np.where(held, u, 0).astype(np.float32), np.where(held, v, 0).astype(np.float32))
    return cv2.remap(image, *maps, cv2.INTER_LINEAR), held


def reprojected(
    depth_m: np.ndarray, intrinsics: np.ndarray, T_other_this: np.ndarray
) -> np.ndarray:
    """Where pixels (2, H, W) lie in another image by their depth; NaN without one or behind it."""
    v, u = np.indices(depth_m.shape)
    rays = np.tensordot(np.linalg.inv(intrinsics), np.stack([u, v, np.ones_like(u)]), 1)
    at = np.tensordot(T_other_this[:3, :3], rays * depth_m, 1) + T_other_this[:3, 3, None, None]
    seen = (depth_m > 0) & (at[2] > 0.1)
    return np.tensordot(intrinsics, at / np.where(seen, at[2], np.nan), 1)[:2]


def _window(values: np.ndarray) -> np.ndarray:
    return cv2.blur(values, (3, 3), borderType=cv2.BORDER_REFLECT_101)
