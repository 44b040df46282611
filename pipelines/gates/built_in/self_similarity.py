"""Gate of self-similarity: what looks alike in the clear frame looks alike in the variant.

Each position of a picture is described by its similarity to all others, in ImageNet features. Light
and weather change the features, and the pattern of likeness much less (Shechtman and Irani 2007;
Tumanyan et al. 2022 for features of a network).
"""

import cv2
import numpy as np
import torch

from nightrain.depthmodel.network.image_features import picture_features
from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.gates.base import Measured
from nightrain.pipelines.gates.built_in.clear_frames import OfClearFrames
from nightrain.pipelines.gates.visible import visible_part

SIZE = (224, 128)  # width, height
LEVEL = 2  # of the feature maps: a sixteenth of the size
LEAST_VISIBLE = 0.3  # of a position that is judged


class SelfSimilarityGate:
    """Measures how far the self-similarities of a variant and its clear frame differ."""

    def __init__(self) -> None:
        self._features = picture_features(SIZE)
        self._of_clear_frame = OfClearFrames(self._similarity)

    def __call__(self, request: Request, variant: Variant) -> Measured:
        """Measure a variant."""
        before, after = self._of_clear_frame(request.image), self._similarity(variant.image)
        height, width = SIZE[1] // 16, SIZE[0] // 16
        visible = visible_part(request, variant, (SIZE[1] // 4, SIZE[0] // 4))
        seen = cv2.resize(visible, (width, height), interpolation=cv2.INTER_AREA).ravel()
        return Measured(compare_similarity(before, after, seen))

    @torch.no_grad()
    def _similarity(self, image: np.ndarray) -> np.ndarray:
        """Similarity (P, P) float32 in [-1, 1] of all positions of a picture."""
        flat = self._features(image)[LEVEL][0].flatten(1)  # (C, P)
        flat = flat - flat.mean(1, keepdim=True)
        flat = torch.nn.functional.normalize(flat, dim=0)
        return (flat.T @ flat).numpy()


def compare_similarity(
    before: np.ndarray, after: np.ndarray, visible: np.ndarray
) -> dict[str, float]:
    """Distances of similarities (P, P), given the visibility (P,) of the positions.

    A position's distance is 1 less the correlation of its similarities to all visible positions;
    `distance` is the mean over these, weighted by visibility, and `worst` the largest. Both are 0
    where fewer than three positions are visible.
    """
    known = visible >= LEAST_VISIBLE
    if known.sum() < 3:
        return {"distance": 0.0, "worst": 0.0}
    a, b = (one[np.ix_(known, known)].astype(np.float64) for one in (before, after))
    a, b = (one - one.mean(axis=1, keepdims=True) for one in (a, b))
    norms = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    distances = 1 - (a * b).sum(axis=1) / np.maximum(norms, 1e-9)
    weights = visible[known]
    return {
        "distance": float((weights * distances).sum() / weights.sum()),
        "worst": float(distances.max()),
    }
