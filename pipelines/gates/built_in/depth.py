"""Gate of depth: a network sees the variant's geometry as it sees that of the clear frame.

Depth is estimated of both pictures by the same networks, so that their own errors cancel, and is
compared in windows as wide as a near vehicle. What the condition rightly hides may be lost; a near
thing that appears in front of it counts.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch

from nightrain.datasets.io.images import resize_image
from nightrain.depthmodel.evaluation.metrics import fitted_scale_and_shift
from nightrain.depthmodel.fold_batch_norms import without_batch_norms
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.network.predict import predict
from nightrain.depthmodel.transformers_depth import is_of_transformers, load_foundation
from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.gates.base import Measured
from nightrain.pipelines.gates.built_in.clear_frames import OfClearFrames
from nightrain.pipelines.gates.visible import visible_part

WINDOW_SHARE = 0.09  # of the width
FARTHEST_M = 60.0  # beyond it, depth is not judged
NEAR_M = 40.0  # what is nearer is seen in any weather: a new thing is no effect of it
LEAST_VISIBLE = 0.3  # share of a window, or of a pixel's contrast, that is judged
LEAST_PIXELS = 500  # visible ones that the scale is taken from
ASSUMED_M, MOST_M = (80.0, 4.0), 200.0  # of relative depth where the request has none
TRUSTED_LOG = 0.2  # difference of log depth whose confidence is 1/e


class Estimator(Protocol):
    """Network that estimates something of depth, and how it is compared."""

    def estimate(self, image: np.ndarray) -> np.ndarray:
        """Estimate (h, w) float32 of an image (H, W, 3) uint8, at the network's own size."""
        ...

    def in_metres(
        self, request: Request, clear: np.ndarray, seen: np.ndarray, visible: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Depths (h, w) in metres of a clear frame and a variant, from their estimates (h, w)."""
        ...


class MetricNetwork:
    """Depth model of nightrain, which estimates metres."""

    def __init__(self, folder: Path) -> None:
        model = DepthModel.from_pretrained(folder)
        width, height = model.config.input_size
        noise = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
        self._model = without_batch_norms(model, lambda one: one(noise).inverse_depth)

    def estimate(self, image: np.ndarray) -> np.ndarray:
        """Depth (h, w) in metres."""
        return predict(self._model, [resize_image(image, self._model.config.input_size)])[0]

    def in_metres(
        self, request: Request, clear: np.ndarray, seen: np.ndarray, visible: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the estimates as they are."""
        return clear, seen


class RelativeNetwork:
    """Depth network of transformers, whose inverse depth has an unknown scale and shift."""

    def __init__(self, folder: Path) -> None:
        self._predict = load_foundation(folder)

    def estimate(self, image: np.ndarray) -> np.ndarray:
        """Inverse depth (h, w), relative."""
        return self._predict([image])[0].astype(np.float32)

    def in_metres(
        self, request: Request, clear: np.ndarray, seen: np.ndarray, visible: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fit the clear frame to the request's depth, and the variant to the clear frame.

        Without depth, the nearest 2 % of the clear frame are taken for 4 m, the farthest for 80 m.
        """
        inverse = _clear_inverse(request, clear)
        known = visible > LEAST_VISIBLE
        known = known if known.sum() >= LEAST_PIXELS else np.ones_like(known)
        aligned = _fitted(seen, seen[known], inverse[known])
        least = np.float32(1 / MOST_M)
        return 1 / np.maximum(inverse, least), 1 / np.maximum(aligned, least)


def _clear_inverse(request: Request, clear: np.ndarray) -> np.ndarray:
    """Inverse depth (h, w) in 1/m of a clear frame, from a relative one (h, w)."""
    if request.depth_m is not None:
        size = clear.shape[::-1]
        depth_m = cv2.resize(request.depth_m, size, interpolation=cv2.INTER_NEAREST)
        solid = np.isfinite(depth_m)
        if solid.any():
            return _fitted(clear, clear[solid], 1 / depth_m[solid])
    return _fitted(clear, np.percentile(clear, (2, 98)), 1 / np.array(ASSUMED_M))


def _fitted(values: np.ndarray, at: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Values (h, w) with the scale and shift that fit those `at` some pixels to a target (N,)."""
    scale, shift = fitted_scale_and_shift(at, target)
    return (scale * values + shift).astype(np.float32)


class DepthGate:
    """Measures how far depth networks disagree about a variant and its clear frame."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._networks: list[Estimator] = [
            RelativeNetwork(folder) if is_of_transformers(folder) else MetricNetwork(folder)
            for folder in folders
        ]
        self._of_clear_frame = OfClearFrames(self._estimates)

    def __call__(self, request: Request, variant: Variant) -> Measured:
        """Measure a variant; of several networks, the smaller difference counts."""
        found = []
        before, after = self._of_clear_frame(request.image), self._estimates(variant.image)
        for network, clear, seen in zip(self._networks, before, after, strict=True):
            visible = visible_part(request, variant, clear.shape)
            clear_m, seen_m = network.in_metres(request, clear, seen, visible)
            found.append(compare_depth(clear_m, seen_m, visible))
        scores = {name: min(one.scores[name] for one in found) for name in found[0].scores}
        maps = [one.confidence for one in found if one.confidence is not None]
        first = maps[0]
        for other in maps[1:]:
            first = np.maximum(first, cv2.resize(other, first.shape[::-1]))
        return Measured(scores, confidence=first)

    def _estimates(self, image: np.ndarray) -> list[np.ndarray]:
        return [network.estimate(image) for network in self._networks]


def compare_depth(clear_m: np.ndarray, seen_m: np.ndarray, visible: np.ndarray) -> Measured:
    """Compare depths (h, w) in metres of a clear frame and its variant, given visibility (h, w).

    Scores are differences of log depth after the scale of the variant's depth is set by the median
    of what is visible: `nearer` and `farther` are those of the worst window, `error` is the mean.
    `appeared` is `nearer` of all that is near in either picture, visible or not.
    """
    difference = np.log(seen_m / clear_m).astype(np.float32)
    known = visible > LEAST_VISIBLE
    if is_aligned := known.sum() >= LEAST_PIXELS:
        difference = difference - np.median(difference[known])
    weight = np.where(clear_m < FARTHEST_M, visible, 0).astype(np.float32)
    nearest_m = clear_m * np.exp(np.minimum(difference, 0))
    near = (nearest_m < NEAR_M).astype(np.float32) if is_aligned else weight
    error = float((weight * np.abs(difference)).sum() / max(float(weight.sum()), 1.0))
    return Measured(
        {
            "nearer": _worst_window(-difference, weight),
            "farther": _worst_window(difference, weight),
            "appeared": _worst_window(-difference, near),
            "error": error,
        },
        confidence=visible * np.exp(-np.abs(difference) / np.float32(TRUSTED_LOG)),
    )


def _worst_window(field: np.ndarray, weight: np.ndarray) -> float:
    """Largest weighted mean of what is positive in a field (h, w), of windows that have weight."""
    side = max(3, round(WINDOW_SHARE * field.shape[1]))
    share = cv2.blur(weight, (side, side))
    mean = cv2.blur(weight * np.maximum(field, 0), (side, side)) / (share + np.float32(1e-6))
    return float(np.where(share > LEAST_VISIBLE, mean, 0).max())
