"""Image statistics: luminance, noise and photometric reprojection error."""

from dataclasses import dataclass

import cv2
import numpy as np

SSIM_WEIGHT = 0.85
C1, C2 = 0.01**2, 0.03**2
ROUNDING_PX = 1e-6  # tolerance for a pixel on the image border
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_LAPLACIANS = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)


@dataclass(frozen=True)
class Luminance:
    """Luminance statistics of one image, in 8-bit steps."""

    mean: float
    spread: float
    noise: float


def luminance(image: np.ndarray) -> Luminance:
    """Mean, standard deviation and noise of the luma of an image (H, W, 3) uint8."""
    luma = image.astype(np.float32) @ LUMA
    return Luminance(float(luma.mean()), float(luma.std()), noise_sigma(luma))


def noise_sigma(luma: np.ndarray) -> float:
    """Standard deviation of the noise in (H, W), robust to straight edges (Immerkaer 1996)."""
    response = cv2.filter2D(luma.astype(np.float32), -1, _LAPLACIANS)[1:-1, 1:-1]
    return float(np.sqrt(np.pi / 2) * np.abs(response).mean() / 6)


def photometric_error(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Photometric error (H, W) of images (H, W, 3) uint8: 0.85 (1 - SSIM) / 2 + 0.15 L1.

    md4all, eqs. 3 and 4 (docs/papers/md4all.md). SSIM is of 3x3 windows over values in [0, 1],
    clipped, averaged over the channels.
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
    """Warp another image (H, W, 3) into this camera by its depth (H, W); also return the mask."""
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
    """Pixel coordinates (2, H, W) in another image; NaN without depth or behind its camera."""
    v, u = np.indices(depth_m.shape)
    rays = np.tensordot(np.linalg.inv(intrinsics), np.stack([u, v, np.ones_like(u)]), 1)
    at = np.tensordot(T_other_this[:3, :3], rays * depth_m, 1) + T_other_this[:3, 3, None, None]
    seen = (depth_m > 0) & (at[2] > 0.1)
    return np.tensordot(intrinsics, at / np.where(seen, at[2], np.nan), 1)[:2]


def _window(values: np.ndarray) -> np.ndarray:
    return cv2.blur(values, (3, 3), borderType=cv2.BORDER_REFLECT_101)
