"""Edge-aware and multi-scale smoothing, at reduced resolution where the eye cannot tell."""

import cv2
import numpy as np

Vector = np.ndarray | tuple[np.ndarray, np.ndarray, np.ndarray]  # components first


def reduced(field: np.ndarray, factor: int) -> np.ndarray:
    """Area-average (H, W[, C]) to about (H / factor, W / factor[, C]), never below one pixel."""
    height, width = field.shape[:2]
    size = max(1, round(width / factor)), max(1, round(height / factor))
    return cv2.resize(field, size, interpolation=cv2.INTER_AREA)


def enlarged(field: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Bilinear enlargement of (h, w[, C]) to the rows and columns of `shape`."""
    return cv2.resize(field, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)


def guided(guide: np.ndarray, field: np.ndarray, radius_px: float, eps: float, factor: int = 4):
    """Smooth `field` (H, W) along the edges of `guide` (H, W): the fast guided filter.

    He and Sun 2015, Algorithm 2: coefficients at 1 / factor of the resolution.
    """
    small_guide, small = reduced(guide, factor), reduced(field, factor)
    side = 2 * max(1, round(radius_px / factor)) + 1
    mean_g, mean_f = _box(small_guide, side), _box(small, side)
    covariance = _box(small_guide * small, side) - mean_g * mean_f
    variance = _box(small_guide * small_guide, side) - mean_g * mean_g
    slope = covariance / (np.maximum(variance, 0) + np.float32(eps))
    offset = mean_f - slope * mean_g
    smooth = enlarged(_box(slope, side), guide.shape)
    smooth *= guide
    smooth += enlarged(_box(offset, side), guide.shape)
    return smooth


def _box(field: np.ndarray, side: int) -> np.ndarray:
    return cv2.blur(field, (side, side), borderType=cv2.BORDER_REFLECT)


def soft(field: np.ndarray, sigma_px: float, factor: int) -> np.ndarray:
    """Gaussian blur of (H, W[, C]) made at 1 / factor of the resolution."""
    small = cv2.GaussianBlur(reduced(field, factor), (0, 0), max(sigma_px / factor, 0.3))
    return enlarged(small, field.shape)


def smoothstep(field: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below `low`, 1 above `high`, the cubic 3 x^2 - 2 x^3 between; float32."""
    x = np.clip((field - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)
    return x * x * (3 - 2 * x)


def weighted_sum(
    first: np.ndarray, first_weight: np.ndarray, second: np.ndarray, second_weight: np.ndarray
) -> np.ndarray:
    """first * w1 + second * w2 of pictures (H, W, 3) and weights (H, W); any weights, unlike
    cv2.blendLinear, which divides by their sum.
    """
    total = cv2.multiply(first, cv2.merge([first_weight] * 3))
    weight = cv2.merge([second_weight] * 3)
    total += cv2.multiply(second, weight, dst=weight)
    return total


def dot(first: Vector, second: Vector) -> np.ndarray:
    """Scalar product of two vectors whose three components come first: (3, ...) -> (...)."""
    return first[0] * second[0] + first[1] * second[1] + first[2] * second[2]
