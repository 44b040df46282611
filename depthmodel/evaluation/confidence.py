"""Confidence of a label: how reliable a teacher's depth is at each pixel, without ground truth.

The product of two tests, since each can refute a depth and neither can prove it (md4all, eq. 15,
docs/papers/md4all.md):

flip         c = exp(-|ln d - ln d'| / tau), d' predicted for the mirrored image and mirrored back.
             A depth that the network infers does not depend on left and right; a guess does.
photometric  c = min(1, 2 / (1 + exp(-m / s))), m = min(e(1.2), e(1/1.2)) - e(1): does d explain
             the neighbours better than a depth 20 % farther or nearer? e(k) is the photometric
             error of the neighbours warped with depth k d and the known poses. Where all depths
             explain them equally (no texture, little motion) m = 0 and c = 1: no evidence. Where
             a static camera explains them best, the surface moves with the camera and the error
             says nothing about its depth: c = 1, the auto-mask (md4all, eq. 6).

The error alone is not enough: between two frames 0.9 m apart, a depth error of 20 % moves a pixel
so little that the error changes less than between correct pixels. On the built-in world, with
patches of the exact depth changed by 20 %, the error separates wrong from right pixels with an AUC
of 0.54 and this confidence with 0.77: `python -m nightrain.benchmarks.confidence DATASET`.
Brightness separates them as well as colour, at a third of the cost.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

ALTERNATIVE_FACTOR = 1.2  # a label must beat depths farther and nearer by this factor
WINDOW_SHARE = 0.02  # of the width: side of the square over which errors are averaged
SSIM_SHARE = 0.85  # of the photometric error; the rest is the absolute difference
C1, C2 = 0.01**2, 0.03**2  # of SSIM, for values in [0, 1]
LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)  # ITU-R BT.709
NEAREST_M = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceView:
    """Image of the same scene from another pose: a neighbouring frame or the stereo partner."""

    image: np.ndarray  # (H, W, 3) uint8
    intrinsics: np.ndarray  # (3, 3), pixels of that image
    T_view_camera: np.ndarray  # (4, 4) metres, from the labelled camera to the view's


def flip_confidence(
    depth_m: np.ndarray, mirrored_depth_m: np.ndarray, scale: float = 0.1
) -> np.ndarray:
    """Flip confidence (H, W) float32 in [0, 1] from the depth of an image and of its mirror image.

    `mirrored_depth_m` (H, W) is the prediction for the mirrored image; `scale` is the disagreement
    |ln d - ln d'| at which confidence is 1/e. Both depths must be finite and positive.
    """
    disagreement = np.abs(np.log(depth_m) - np.log(mirrored_depth_m[:, ::-1]))
    return np.exp(-disagreement / scale).astype(np.float32)


def photometric_confidence(
    image: np.ndarray,
    depth_m: np.ndarray,
    intrinsics: np.ndarray,
    views: Sequence[SourceView],
    scale: float = 0.005,
) -> np.ndarray:
    """Photometric confidence (H, W) float32 in [0, 1] of a depth, from views of an image.

    `image` is (H, W, 3) uint8. `scale` is the difference of photometric errors that matters. The
    confidence is 1 where no view gives evidence.
    """
    target, sources = _brightness(image), [_brightness(view.image) for view in views]
    ours, farther, nearer = (
        _least_error(target, factor * depth_m, intrinsics, sources, views)
        for factor in (1.0, ALTERNATIVE_FACTOR, 1 / ALTERNATIVE_FACTOR)
    )
    margin = np.minimum(_mean_difference(farther, ours), _mean_difference(nearer, ours))
    same_size = [source for source in sources if source.shape == target.shape]
    if same_size:
        still = np.minimum.reduce([_photometric_error(target, source) for source in same_size])
        margin[_mean_difference(still, ours) < np.minimum(margin, 0.0)] = 0.0
    return np.minimum(1.0, 2.0 / (1.0 + np.exp(np.clip(-margin / scale, -50, 50))))


def reprojection_error(
    image: np.ndarray, depth_m: np.ndarray, intrinsics: np.ndarray, views: Sequence[SourceView]
) -> np.ndarray:
    """Minimum photometric error (H, W) over the views; NaN where no view shows the pixel."""
    sources = [_brightness(view.image) for view in views]
    return _least_error(_brightness(image), depth_m, intrinsics, sources, views)


def _least_error(
    target: np.ndarray,
    depth_m: np.ndarray,
    intrinsics: np.ndarray,
    sources: Sequence[np.ndarray],
    views: Sequence[SourceView],
) -> np.ndarray:
    least = np.full(depth_m.shape, np.inf, np.float32)
    for source, view in zip(sources, views, strict=True):
        seen, valid = _warp(source, depth_m, intrinsics, view)
        least = np.where(valid, np.minimum(least, _photometric_error(target, seen)), least)
    return np.where(np.isinf(least), np.nan, least)


def _warp(
    source: np.ndarray, depth_m: np.ndarray, intrinsics: np.ndarray, view: SourceView
) -> tuple[np.ndarray, np.ndarray]:
    """Warp a view's brightness into the camera (H, W), with the mask of pixels that it shows.

    u_view ~ K_view (R d K^-1 u + t), sampled bilinearly (md4all, eq. 2).
    """
    height, width = depth_m.shape
    rays = view.intrinsics @ view.T_view_camera[:3, :3] @ np.linalg.inv(intrinsics)  # (3, 3)
    offset = view.intrinsics @ view.T_view_camera[:3, 3]  # (3,)
    u = np.arange(width, dtype=np.float32)[None, :]
    v = np.arange(height, dtype=np.float32)[:, None]
    x, y, z = (
        depth_m * (np.float32(r[0]) * u + np.float32(r[1]) * v + np.float32(r[2])) + np.float32(o)
        for r, o in zip(rays, offset, strict=True)
    )
    ahead = z > NEAREST_M
    z = np.where(ahead, z, 1.0)
    x, y = (x / z).astype(np.float32), (y / z).astype(np.float32)
    inside = (x >= 0) & (x <= source.shape[1] - 1) & (y >= 0) & (y <= source.shape[0] - 1)
    seen = cv2.remap(source, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return seen, ahead & inside


def _photometric_error(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """0.85 (1 - SSIM) / 2 + 0.15 |a - b| per pixel of (H, W); SSIM over 3 x 3 pixels.

    md4all, eqs. 3 and 4.
    """
    mean_a, mean_b = _box(a, 3), _box(b, 3)
    var_a, var_b = _box(a * a, 3) - mean_a**2, _box(b * b, 3) - mean_b**2
    covariance = _box(a * b, 3) - mean_a * mean_b
    ssim = ((2 * mean_a * mean_b + C1) * (2 * covariance + C2)) / (
        (mean_a**2 + mean_b**2 + C1) * (var_a + var_b + C2)
    )
    return SSIM_SHARE * np.clip((1 - ssim) / 2, 0, 1) + (1 - SSIM_SHARE) * np.abs(a - b)


def _mean_difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean of a - b (H, W) over a window; a pixel where either is NaN counts as 0."""
    window = 2 * int(a.shape[1] * WINDOW_SHARE / 2) + 1
    return _box(np.nan_to_num(a - b), window)


def _box(values: np.ndarray, size: int) -> np.ndarray:
    return cv2.blur(values, (size, size), borderType=cv2.BORDER_REFLECT_101)


def _brightness(image: np.ndarray) -> np.ndarray:
    return image.astype(np.float32) @ (LUMA / np.float32(255))
