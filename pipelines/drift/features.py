"""ImageNet features of pictures as measures: principal components of both sides together."""

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from nightrain.datasets.io.images import decode_jpeg

if TYPE_CHECKING:
    from nightrain.depthmodel.network.image_features import ImageFeatures

SIZE = (224, 128)  # width, height
NUM_COMPONENTS = 4

Measures = dict[str, np.ndarray]


def component_measures(ours: np.ndarray, theirs: np.ndarray) -> tuple[Measures, Measures]:
    """Project features (N, D) and (M, D) on the first principal components of all of them.

    Features are standardised by the deviations of `theirs`; one that is constant there counts 0.
    """
    spread = theirs.std(0)
    scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 1e-6)
    both = (np.concatenate([ours, theirs]) - theirs.mean(0)) * scale
    centred = both - both.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    values = centred @ axes[:NUM_COMPONENTS].T
    names = [f"features, component {number + 1}" for number in range(values.shape[1])]
    sides = values[: len(ours)], values[len(ours) :]
    first, second = (dict(zip(names, side.T, strict=True)) for side in sides)
    return first, second


def features_of(rows: Iterable[dict[str, Any]]) -> np.ndarray:
    """Pooled ImageNet features (N, 496) of the pictures of rows; raises InvalidRequest.

    The weights of EfficientNet-Lite0 come with the package.
    """
    from nightrain.depthmodel.network.image_features import pooled_features

    return pooled_features(_network(), [decode_jpeg(row["image"]["bytes"]) for row in rows], SIZE)


@functools.cache
def _network() -> "ImageFeatures":
    from nightrain.depthmodel.network.image_features import ImageFeatures

    return ImageFeatures()
