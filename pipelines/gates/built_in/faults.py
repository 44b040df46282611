"""Gate against broken pictures: black, flat, saturated, posterised, or unchanged."""

import cv2
import numpy as np

from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.gates.base import Measured

WHITE = 254


def measure_faults(request: Request, variant: Variant) -> Measured:
    """Measure a variant: luma, levels in use, and the difference from its clear frame."""
    image = variant.image
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return Measured(
        {
            "highlight": float(np.percentile(luma, 99)),
            "spread": float(luma.std()),
            "white": float((image.min(axis=2) >= WHITE).mean()),
            "levels": used_levels(image),
            "change": float(cv2.absdiff(image, request.image).mean()),
        }
    )


def used_levels(image: np.ndarray) -> float:
    """Least share of the levels between the 1st and 99th percentile that a channel uses."""
    shares = []
    for channel in cv2.split(image):
        counts = np.bincount(channel.ravel(), minlength=256)
        low, high = np.searchsorted(counts.cumsum(), [0.01 * channel.size, 0.99 * channel.size])
        shares.append(float((counts[low : high + 1] > 0).mean()))
    return min(shares)
