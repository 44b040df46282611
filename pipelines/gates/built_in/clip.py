"""Gate of CLIP: a variant looks like the words for its condition, more than for any other.

Zero-shot classification after Radford et al. (2021), with a folder or hub model of a CLIP network.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from nightrain.datasets.conditions import CONDITIONS, Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.loading_reports import quiet_transformers, require_complete
from nightrain.depthmodel.weights import Found, Weights, resolve
from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.gates.base import Measured
from nightrain.pipelines.gates.built_in.margin import measured_margin

PATTERN = "a photo of a street. {}."
UNPROMPTED = {Condition.CLEAR: "On a clear day", Condition.DUSK: "At dusk"}  # have no phrase
WORDS = {c: PATTERN.format(UNPROMPTED.get(c) or row.phrases[0]) for c, row in CONDITIONS.items()}


def clip_weights(model: str, revision: str | None) -> Found:
    """Checked weights of a CLIP model; nothing is loaded. Raises InvalidRequest."""
    return resolve(Weights(model, revision))


class ClipGate:
    """Measures how much better the words for the condition fit than those for any other one."""

    def __init__(self, found: Found) -> None:
        self._processor, self._model = _load(found.folder)
        self._conditions = tuple(WORDS)
        self._words = list(WORDS.values())

    def __call__(self, request: Request, variant: Variant) -> Measured:
        """Measure a variant."""
        found = self.log_probabilities(variant.image)
        return measured_margin(found, self._conditions.index(request.condition))

    @torch.no_grad()
    def log_probabilities(self, image: np.ndarray) -> np.ndarray:
        """Log probability (C,) of the words for each condition, for an image (H, W, 3) uint8."""
        inputs = self._processor(
            text=self._words, images=[image], return_tensors="pt", padding=True
        )
        logits = self._model(**inputs).logits_per_image[0]
        return torch.log_softmax(logits.double(), 0).numpy()


def _load(folder: Path) -> tuple[Any, Any]:
    """Processor and network of a folder; raises InvalidRequest."""
    from transformers import CLIPModel, CLIPProcessor

    options: dict[str, Any] = {"local_files_only": True}
    try:
        with quiet_transformers():
            processor = CLIPProcessor.from_pretrained(folder, **options)
            loaded: Any = CLIPModel.from_pretrained(
                folder, use_safetensors=True, output_loading_info=True, **options
            )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidRequest(
            f"{folder} is not a CLIP model of transformers: {str(error).splitlines()[0]}"
        ) from error
    model, info = loaded
    require_complete(str(folder), sorted(info["missing_keys"]))
    return processor, model.eval()
