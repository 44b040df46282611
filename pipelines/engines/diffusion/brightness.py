"""Brightness of night variants: matches the distribution of mean levels of real night images.

SSD, eq. 2 (docs/papers/ssd.md). Each image has a target of its own, drawn from real nights: with
one target for all, a student could tell a variant by its mean. v -> v ** gamma on sRGB values in
[0, 1] keeps black, white and the order of tones.
"""

from collections.abc import Sequence

import numpy as np

NUM_BINS = 4096
BRIGHTNESS_STREAM = 3  # separates this draw from the other draws of a sample's seed


def mean_level(image: np.ndarray) -> float:
    """Mean of all values of an image (H, W, 3) uint8, in [0, 1]."""
    return float(image.mean(dtype=np.float64)) / 255


def drawn_level(quantiles: Sequence[float], seed: int) -> float:
    """Draw a mean level from evenly spaced quantiles of a distribution, the extremes included."""
    rank = np.random.default_rng([seed, BRIGHTNESS_STREAM]).random()
    return float(np.interp(rank, np.linspace(0, 1, len(quantiles)), quantiles))


def to_mean_level(
    values: np.ndarray, target: float, bounds: tuple[float, float]
) -> tuple[np.ndarray, float]:
    """Apply the gamma within `bounds` that brings the mean of (H, W, 3) float to `target`.

    `values` are in [0, 1], not rounded to 8 bits: dark tones that gamma spreads stay smooth.
    Returns the image (H, W, 3) uint8 and the gamma, found by bisection; the mean never grows with
    gamma. A target out of reach gets the nearest bound.
    """
    levels = values.astype(np.float32)
    counts, edges = np.histogram(levels, NUM_BINS, (0.0, 1.0))
    middles = (edges[1:] + edges[:-1]) / 2
    lowest, highest = bounds
    while highest - lowest > 1e-4 * lowest:
        middle = (lowest * highest) ** 0.5
        if counts @ middles**middle / counts.sum() > target:
            lowest = middle  # still too bright
        else:
            highest = middle
    gamma = (lowest * highest) ** 0.5
    return np.rint(255 * levels**gamma).astype(np.uint8), gamma
