"""What a lens makes of strong lights: halos of several sizes, dark corners."""

import cv2
import numpy as np

from nightrain.pipelines.engines.weather.optics.filters import enlarged, reduced
from nightrain.pipelines.engines.weather.optics.optical_scene import Scene

HALOS = ((1 / 110, 0.045), (1 / 32, 0.028), (1 / 10, 0.014))  # sigma / width, share of the light
MAX_LIGHT = 60.0
CORNER_LOSS = 0.28


def add_glare(light: np.ndarray, strength: float = 1.0) -> np.ndarray:
    """Spread part of linear light (H, W, 3) over wide halos (Spencer et al. 1995, as Gaussians).

    A share of all light is moved, not added: the mean stays what it was.
    """
    width = max(light.shape[:2])
    small = np.minimum(reduced(light, 4), np.float32(MAX_LIGHT))
    halo, kept = np.zeros_like(small), 1.0
    for sigma, share in HALOS:
        share = min(0.3, share * strength)
        kept -= share
        halo += np.float32(share) * _wide_blur(small, sigma * width / 4)
    return cv2.addWeighted(light, kept, enlarged(halo, light.shape), 1.0, 0.0)


def _wide_blur(field: np.ndarray, sigma_px: float) -> np.ndarray:
    factor = max(1, int(sigma_px / 3))
    small = reduced(field, factor)
    blurred = cv2.GaussianBlur(small, (0, 0), max(sigma_px / factor, 0.3))
    # Cubic, because linear enlargement shows its facets in a dark sky.
    return np.maximum(cv2.resize(blurred, field.shape[1::-1], interpolation=cv2.INTER_CUBIC), 0)


def dim_corners(light: np.ndarray, scene: Scene) -> np.ndarray:
    """Natural vignetting of linear light (H, W, 3), in place, towards the image's corners."""
    height, width = scene.shape
    rows = (np.arange(height, dtype=np.float32)[:, None] + 0.5) * (2 / height) - 1
    columns = (np.arange(width, dtype=np.float32)[None] + 0.5) * (2 / width) - 1
    kept = 1 - np.float32(CORNER_LOSS / 2) * (rows * rows + columns * columns)
    return cv2.multiply(light, cv2.merge([kept, kept, kept]), dst=light)
