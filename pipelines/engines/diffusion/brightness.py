"""Brightness of night variants: a gamma that gives the mean of real night images.

SSD, eq. 2 (docs/papers/ssd.md): v -> v ** gamma on sRGB values in [0, 1] keeps black, white and the
order of tones. Targets from md4all's statistics: nuScenes night 0.1652, RobotCar night 0.2471.
"""

import numpy as np

NUSCENES_NIGHT, ROBOTCAR_NIGHT = 0.1652, 0.2471
LOWEST, HIGHEST = 0.05, 20.0  # gamma


def mean_level(image: np.ndarray) -> float:
    """Mean of all values of an image (H, W, 3) uint8, in [0, 1]."""
    return float(image.mean(dtype=np.float64)) / 255


def to_mean_level(image: np.ndarray, target: float) -> tuple[np.ndarray, float]:
    """Apply the gamma that brings the mean of (H, W, 3) uint8 to `target` in (0, 1).

    Returns the image and the gamma, found by bisection on the rounded result; its mean never grows
    with gamma. If no gamma reaches the target, the nearest allowed one is used.
    """
    counts = np.bincount(image.ravel(), minlength=256)
    lowest, highest = LOWEST, HIGHEST
    while highest - lowest > 1e-6 * lowest:
        middle = (lowest * highest) ** 0.5
        if counts @ _curve(middle) / (255 * image.size) > target:
            lowest = middle  # still too bright
        else:
            highest = middle
    gamma = min(
        (lowest, highest), key=lambda g: abs(counts @ _curve(g) / (255 * image.size) - target)
    )
    return _curve(gamma).astype(np.uint8)[image], gamma


def _curve(gamma: float) -> np.ndarray:
    return np.rint(255 * (np.arange(256) / 255) ** gamma)
