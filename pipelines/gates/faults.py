"""Gate against broken pictures: wrong size, black, flat, saturated, posterised, unchanged."""

import cv2
import numpy as np

from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.gates.base import GateAccepted, GateRejected
from nightrain.pipelines.gates.limits import FaultsLimits

WHITE = 254


class FaultsGate:
    """Rejects a variant by the first fault that it finds."""

    def __init__(self, limits: FaultsLimits) -> None:
        self.limits = limits

    def __call__(self, request: Request, variant: Variant) -> GateAccepted | GateRejected:
        """Judge a variant of a request."""
        image, clear, limits = variant.image, request.image, self.limits
        if image.shape != clear.shape or image.dtype != np.uint8:
            found = f"{image.dtype} {image.shape}"
            return GateRejected(f"wrong size: {found}, expected uint8 {clear.shape}")
        luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        white = float((image.min(axis=2) >= WHITE).mean())
        if white > limits.most_white:
            expected = f"expected at most {limits.most_white:g}"
            return GateRejected(f"saturated: share of white pixels {white:.3g}, {expected}")
        for fault, value, limit in (
            ("black: 99th percentile of luma", np.percentile(luma, 99), limits.least_highlight),
            ("flat: standard deviation of luma", luma.std(), limits.least_spread),
            ("posterised: share of used levels", used_levels(image), limits.least_levels),
            ("unchanged: mean difference", cv2.absdiff(image, clear).mean(), limits.least_change),
        ):
            if value < limit:
                return GateRejected(f"{fault} {value:.3g}, expected at least {limit:g}")
        return GateAccepted()


def used_levels(image: np.ndarray) -> float:
    """Least share of the levels between the 1st and 99th percentile that a channel uses."""
    shares = []
    for channel in cv2.split(image):
        counts = np.bincount(channel.ravel(), minlength=256)
        low, high = np.searchsorted(counts.cumsum(), [0.01 * channel.size, 0.99 * channel.size])
        shares.append(float((counts[low : high + 1] > 0).mean()))
    return min(shares)
