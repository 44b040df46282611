"""Gate against broken pictures: black, flat, saturated, posterised, or unchanged."""

from collections.abc import Sequence

import cv2
import numpy as np

from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.gates.base import Measured

WHITE = 254


def measure_faults(request: Request, variant: Variant) -> Measured:
    """Measure a variant: luma, levels in use, and the difference from its clear frame."""
    image = variant.image
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    channels = cv2.split(image)
    darkest = cv2.min(cv2.min(channels[0], channels[1]), channels[2])
    white = np.count_nonzero(darkest >= WHITE)
    return Measured(
        {
            "highlight": percentile(luma, 0.99),
            "spread": float(cv2.meanStdDev(luma)[1][0, 0]),
            "white": white / luma.size,
            "levels": used_levels(channels),
            "change": cv2.norm(image, request.image, cv2.NORM_L1) / image.size,
        }
    )


def percentile(channel: np.ndarray, share: float) -> float:
    """Level of a channel (H, W) uint8 that a share of its pixels is below; interpolated."""
    place = share * (channel.size - 1)
    below, rest = int(place), place - int(place)
    counts = _counts(channel).cumsum()
    low, high = np.searchsorted(counts, [below, min(below + 1, channel.size - 1)], side="right")
    return float(low + (high - low) * rest)


def used_levels(channels: Sequence[np.ndarray]) -> float:
    """Least share of the levels between the 1st and 99th percentile that a channel uses."""
    shares = []
    for channel in channels:
        counts = _counts(channel)
        low, high = np.searchsorted(counts.cumsum(), [0.01 * channel.size, 0.99 * channel.size])
        shares.append(float((counts[low : high + 1] > 0).mean()))
    return min(shares)


def _counts(channel: np.ndarray) -> np.ndarray:
    """Number (256,) of pixels of each level of a channel (H, W) uint8."""
    return cv2.calcHist([channel], [0], None, [256], [0, 256])[:, 0].astype(np.int64)
