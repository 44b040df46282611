"""Judges: networks fitted on rendered training places that measure what a picture shows.

Half of the pictures are softened first, by a blur or by a median, which keeps edges as painting
does, so that the judges see weather and geometry in a soft sample too; without that, they take
every soft picture for rain.
"""

from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file, save

from nightrain.datasets.io.atomic import write_whole
from nightrain.depthmodel.network.image_features import ImageFeatures, feature_maps, pooled
from nightrain.depthmodel.network.linear_classifier import Classifier, fit_classifier
from nightrain.pipelines.small_diffusion.data.views import CONDITIONS
from nightrain.pipelines.small_diffusion.measure.depth_network import (
    STEPS,
    FeatureDecoder,
    train_decoder,
)
from nightrain.pipelines.small_diffusion.measure.frames import (
    fitted_files,
    log_inverse_depth,
    read_fitted,
)
from nightrain.pipelines.small_diffusion.measure.parts import Parts, digest_of_files, reported, say

FILE = "judges.safetensors"
SEED = 0
SOFTNESS_PX = (0.7, 2.5)  # deviation of the blur
MEDIAN_SIDES_PX = (3, 5, 7)
VERSION = 3  # increased when the judges of the same views change


class Judges:
    """Classifier of conditions and depth network on shared ImageNet features."""

    def __init__(
        self, features: ImageFeatures, classifier: Classifier, decoder: FeatureDecoder
    ) -> None:
        self._features, self._classifier, self._decoder = features, classifier, decoder

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Probabilities (N, C) of the conditions, in the order of views.CONDITIONS."""
        features = pooled(feature_maps(self._features, images))
        return self._classifier.probabilities(features).numpy()

    def descriptors(self, images: np.ndarray) -> np.ndarray:
        """Pooled ImageNet features (N, D) float32, standardised on the training places."""
        features = pooled(feature_maps(self._features, images))
        return self._classifier.standardised(features).numpy()

    def log_inverse_depth(self, images: np.ndarray) -> np.ndarray:
        """Estimated log inverse depth (N, H/2, W/2), up to scale and shift."""
        parts = [
            self._decoder(feature_maps(self._features, images[start : start + 64]))
            for start in range(0, len(images), 64)
        ]
        return torch.cat(parts).numpy()


def load_judges(views: Path, out: Path) -> Judges:
    """Load the judges of a folder of views, fitted first unless saved; raises InvalidRequest."""
    facts = {"judges": VERSION, "views": digest_of_files(views, fitted_files(views))}
    path = Parts(out, "judges", facts).folder / FILE
    features = ImageFeatures()
    if not path.is_file():
        with reported("judges, fitted on training places"):
            _fit(views, features, path)
    tensors = load_file(path)
    decoder = FeatureDecoder()
    decoder.load_state_dict(_below("decoder.", tensors))
    classifier = Classifier(**_below("classifier.", tensors))
    return Judges(features, classifier, decoder.eval().requires_grad_(False))


def softened(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Soften half of the images (N, H, W, 3) at random, by a Gaussian blur or by a median."""
    found = images.copy()
    for number in np.flatnonzero(rng.random(len(images)) < 0.5):
        if rng.random() < 0.5:
            found[number] = cv2.GaussianBlur(images[number], (0, 0), rng.uniform(*SOFTNESS_PX))
        else:
            found[number] = cv2.medianBlur(images[number], int(rng.choice(MEDIAN_SIDES_PX)))
    return found


def _fit(views: Path, features: ImageFeatures, path: Path) -> None:
    seen = read_fitted(views)
    images = softened(seen.image, np.random.default_rng(SEED))
    maps = [level.half() for level in feature_maps(features, images)]
    say(f"  {len(seen.image)} views of training places")
    labels = torch.from_numpy(seen.condition)
    classifier = fit_classifier(pooled([m.float() for m in maps]), labels, len(CONDITIONS))
    targets = torch.from_numpy(log_inverse_depth(seen.control))
    decoder = train_decoder(maps, targets, progress=_report)
    tensors = {f"classifier.{name}": value for name, value in asdict(classifier).items()}
    tensors |= {f"decoder.{name}": value for name, value in decoder.state_dict().items()}
    write_whole(path, save({name: value.contiguous() for name, value in tensors.items()}))


def _report(step: int, loss: float) -> None:
    if step % 100 == 0:
        say(f"  depth network, step {step}/{STEPS}: loss {loss:.3f}")


def _below(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
