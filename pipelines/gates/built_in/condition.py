"""Gate of the condition: a variant looks like the weather that was asked for.

A linear classifier on pooled ImageNet features tells the conditions of recorded frames apart. It
was fitted to rendered streets by `benchmarks/condition_classifier.py`; docs/howto/gates.md has its
accuracy.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.network.image_features import picture_features, pooled
from nightrain.depthmodel.network.linear_classifier import Classifier
from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.gates.base import Measured
from nightrain.pipelines.gates.built_in.margin import measured_margin

WEIGHTS = Path(__file__).parent / "condition_weights" / "classifier.safetensors"
CLASSES = (
    *(Condition.CLEAR, Condition.NIGHT, Condition.RAIN, Condition.SNOW, Condition.FOG),
    Condition.NIGHT_RAIN,
)
SIZE = (224, 128)  # width, height


class ConditionGate:
    """Measures how sure a classifier is of the condition that was asked for."""

    def __init__(self) -> None:
        self._features = picture_features(SIZE)
        self._classifier = Classifier(**load_file(WEIGHTS))

    def __call__(self, request: Request, variant: Variant) -> Measured:
        """Measure a variant; raises InvalidRequest for a condition that the classifier lacks."""
        if request.condition not in CLASSES:
            raise InvalidRequest(
                f"the gate 'condition' knows {', '.join(CLASSES)}, and the recipe generates "
                f"{request.condition}. Leave the gate out of this recipe."
            )
        found = self.log_probabilities(variant.image)
        return measured_margin(found, CLASSES.index(request.condition))

    def log_probabilities(self, image: np.ndarray) -> np.ndarray:
        """Log probability (C,) of each of CLASSES of an image (H, W, 3) uint8."""
        features = pooled(self._features(image))
        probabilities = self._classifier.probabilities(features)[0].double()
        return torch.log(probabilities.clamp_min(1e-12)).numpy()


def weights_digest() -> str:
    """First digits of the SHA-256 of the classifier's weights."""
    return hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()[:8]
