"""Image filters: edge-aware and multi-scale smoothing, noise fields, weighted sums."""

import cv2
import numpy as np

TILE_PX = 256
TILE_SEED = 20210521  # one ground texture for all samples, shifted by each sample's own offset

Vector = np.ndarray | tuple[np.ndarray, np.ndarray, np.ndarray]  # components first


def reduced(field: np.ndarray, factor: int) -> np.ndarray:
    """Area-average (H, W[, C]) to about (H / factor, W / factor[, C]), never below one pixel."""
    height, width = field.shape[:2]
    size = max(1, round(width / factor)), max(1, round(height / factor))
    return cv2.resize(field, size, interpolation=cv2.INTER_AREA)


def enlarged(field: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Bilinear enlargement of (h, w[, C]) to the rows and columns of `shape`."""
    return cv2.resize(field, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)


def guided(
    guide: np.ndarray, field: np.ndarray, radius_px: float, eps: float, factor: int = 4
) -> np.ndarray:
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
    """Gaussian blur of (H, W[, C]), computed at 1 / factor of the resolution."""
    small = cv2.GaussianBlur(reduced(field, factor), (0, 0), max(sigma_px / factor, 0.3))
    return enlarged(small, field.shape)


def smoothstep(field: np.ndarray, low: float, high: float) -> np.ndarray:
    """Smooth step: 0 below `low`, 1 above `high`, the cubic 3 x^2 - 2 x^3 between; float32."""
    x = np.clip((field - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)
    return x * x * (3 - 2 * x)


def weighted_sum(
    first: np.ndarray, first_weight: np.ndarray, second: np.ndarray, second_weight: np.ndarray
) -> np.ndarray:
    """Weighted sum first * w1 + second * w2 of images (H, W, 3) and weights (H, W).

    Unlike cv2.blendLinear it does not divide by the sum of the weights.
    """
    total = cv2.multiply(first, cv2.merge([first_weight] * 3))
    weight = cv2.merge([second_weight] * 3)
    total += cv2.multiply(second, weight, dst=weight)
    return total


def dot(first: Vector, second: Vector) -> np.ndarray:
    """Scalar product of vectors with their three components first: (3, ...) -> (...)."""
    return first[0] * second[0] + first[1] * second[1] + first[2] * second[2]


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int], octaves: int = 3
) -> np.ndarray:
    """Fractal noise (H, W) float32 of about unit variance, with (rows, columns) coarsest cells."""
    grid = np.zeros((cells[0] << octaves, cells[1] << octaves), np.float32)
    for octave in range(octaves):
        size = cells[0] << octave, cells[1] << octave
        coarse = rng.standard_normal(size, np.float32) * np.float32(0.5**octave)
        grid += cv2.resize(coarse, grid.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return cv2.resize(grid, shape[::-1], interpolation=cv2.INTER_LINEAR)


def _wrapping_tile() -> np.ndarray:
    rng = np.random.Generator(np.random.PCG64(TILE_SEED))
    rows, columns = np.fft.fftfreq(TILE_PX)[:, None], np.fft.fftfreq(TILE_PX)[None]
    frequency = np.hypot(rows, columns) * TILE_PX
    amplitude = np.where(frequency > 0.5, 1 / np.maximum(frequency, 4.0) ** 1.6, 0.0)
    spectrum = np.fft.fft2(rng.standard_normal((TILE_PX, TILE_PX))) * amplitude
    tile = np.fft.ifft2(spectrum).real
    return (tile / tile.std()).astype(np.float32)


GROUND_TILE = _wrapping_tile()


def ground_noise(x_m: np.ndarray, z_m: np.ndarray, tile_m: float, offset: np.ndarray) -> np.ndarray:
    """Noise (H, W) of unit variance on ground coordinates (H, W) in metres; repeats each tile."""
    scale = np.float32(TILE_PX / tile_m)
    u, v = x_m * scale + np.float32(offset[0]), z_m * scale + np.float32(offset[1])
    np.clip(u, -30000, 30000, out=u)  # cv2.remap takes 16-bit coordinates
    np.clip(v, -30000, 30000, out=v)
    return cv2.remap(GROUND_TILE, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
