"""Gate of depth: a network sees the variant's geometry as it sees that of the clear frame.

Depth is estimated of both pictures by the same networks, so that their own errors cancel, and is
compared in windows as wide as a near vehicle. What the condition rightly hides does not count.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from nightrain.datasets.io.images import resize_image
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.network.predict import predict
from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.gates.base import Measured
from nightrain.pipelines.gates.visible import visible_part

WINDOW_SHARE = 0.09  # of the width
FARTHEST_M = 60.0  # beyond it, depth is not judged
LEAST_VISIBLE = 0.3  # share of a window, or of a pixel's contrast, that is judged
LEAST_PIXELS = 500  # visible ones that the scale is taken from
TRUSTED_LOG = 0.2  # difference of log depth whose confidence is 1/e
MOST_KEPT = 32  # clear frames whose depth is kept, for their other variants


class DepthGate:
    """Measures how far depth models disagree about a variant and its clear frame."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._models = [DepthModel.from_pretrained(folder) for folder in folders]
        self._clear: OrderedDict[bytes, list[np.ndarray]] = OrderedDict()

    def __call__(self, request: Request, variant: Variant) -> Measured:
        """Measure a variant; of several models, the smaller difference counts."""
        before, after = self._clear_depths(request.image), self._depths(variant.image)
        found = [
            compare_depth(clear_m, seen_m, visible_part(request, variant, clear_m.shape))
            for clear_m, seen_m in zip(before, after, strict=True)
        ]
        scores = {name: min(one.scores[name] for one in found) for name in found[0].scores}
        maps = [one.confidence for one in found if one.confidence is not None]
        first = maps[0]
        for other in maps[1:]:
            first = np.maximum(first, cv2.resize(other, first.shape[::-1]))
        return Measured(scores, confidence=first)

    def _depths(self, image: np.ndarray) -> list[np.ndarray]:
        """Depth (h, w) in metres by each model, at its own size."""
        sized = ((model, resize_image(image, model.config.input_size)) for model in self._models)
        return [predict(model, [small])[0] for model, small in sized]

    def _clear_depths(self, image: np.ndarray) -> list[np.ndarray]:
        key = hashlib.sha256(image.tobytes()).digest()
        if key not in self._clear:
            self._clear[key] = self._depths(image)
            while len(self._clear) > MOST_KEPT:
                self._clear.popitem(last=False)
        return self._clear[key]


def compare_depth(clear_m: np.ndarray, seen_m: np.ndarray, visible: np.ndarray) -> Measured:
    """Compare depths (h, w) in metres of a clear frame and its variant, given visibility (h, w).

    Scores are differences of log depth after the scale of the variant's depth is set by the median
    of what is visible: `nearer` and `farther` are those of the worst window, `error` is the mean.
    """
    difference = np.log(seen_m / clear_m).astype(np.float32)
    known = visible > LEAST_VISIBLE
    if known.sum() >= LEAST_PIXELS:
        difference = difference - np.median(difference[known])
    weight = np.where(clear_m < FARTHEST_M, visible, 0).astype(np.float32)
    side = max(3, round(WINDOW_SHARE * clear_m.shape[1]))
    share = cv2.blur(weight, (side, side))

    def worst(field: np.ndarray) -> float:
        mean = cv2.blur(weight * np.maximum(field, 0), (side, side)) / (share + np.float32(1e-6))
        return float(np.where(share > LEAST_VISIBLE, mean, 0).max())

    error = float((weight * np.abs(difference)).sum() / max(float(weight.sum()), 1.0))
    return Measured(
        {"nearer": worst(-difference), "farther": worst(difference), "error": error},
        confidence=visible * np.exp(-np.abs(difference) / np.float32(TRUSTED_LOG)),
    )
