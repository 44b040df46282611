"""Depth models trained with nightrain, as depth sources."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from nightrain.datasets.errors import InvalidRequest
from nightrain.pipelines.controls.depth_source import (
    DepthInput,
    RelativeDepth,
    at_size,
    inverse_of_metric,
)
from nightrain.pipelines.controls.networks import loading
from nightrain.pipelines.runs.devices import on_side_stream

if TYPE_CHECKING:
    from nightrain.depthmodel.network.model import DepthModel


class Predictor(Protocol):
    """Interface of a trained depth network: predicts depth, and identifies itself by a digest."""

    @property
    def digest(self) -> str:
        """Digest of its configuration and weights."""
        ...

    def predict(self, images: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """Return depth in metres (h, w) float32 of each image (h, w, 3) uint8."""
        ...


@dataclass(frozen=True)
class TeacherDepth:
    """Trained depth model by its folder; loaded once per process."""

    folder: str
    model: Predictor | None = None  # None: loaded from the folder

    @property
    def name(self) -> str:
        """Digest of the weights, which are not read; raises InvalidRequest without a model."""
        return f"teacher:{self.model.digest if self.model else _digest(self.folder)}"

    def depth(self, scene: DepthInput) -> RelativeDepth:
        """Return 1/z (H, W) of the image; raises InvalidRequest, DamagedInput."""
        return self.depths([scene])[0]

    def depths(self, scenes: Sequence[DepthInput]) -> list[RelativeDepth]:
        """Return 1/z (H, W) of each image; raises InvalidRequest, DamagedInput."""
        found = self._predictor.predict([scene.image for scene in scenes])
        return [
            RelativeDepth(
                at_size(inverse_of_metric(depth_m), (scene.image.shape[1], scene.image.shape[0])),
                is_metric=True,
            )
            for depth_m, scene in zip(found, scenes, strict=True)
        ]

    @property
    def _predictor(self) -> Predictor:
        return self.model or _load(self.folder)


@dataclass(frozen=True)
class SavedModel:
    """Loaded DepthModel, as a Predictor."""

    model: "DepthModel"

    @property
    def digest(self) -> str:
        """Digest of its configuration and weights."""
        return self.model.digest

    def predict(self, images: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """Depth in metres (h, w) float32 of each image (h, w, 3) uint8; raises InvalidRequest."""
        from nightrain.depthmodel.network.predict import predict

        with on_side_stream(next(self.model.parameters()).device):
            return predict(self.model, images)


@functools.lru_cache(maxsize=1)
def _digest(folder: str) -> str:
    from nightrain.depthmodel.model_header import saved_digest

    return saved_digest(_existing(folder))


@functools.lru_cache(maxsize=1)
def _load(folder: str) -> Predictor:
    import torch

    from nightrain.depthmodel.network.model import DepthModel

    with loading(folder):
        model = DepthModel.from_pretrained(_existing(folder))
        return SavedModel(model.to("cuda" if torch.cuda.is_available() else "cpu"))


def _existing(folder: str) -> Path:
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise InvalidRequest(
            f"`teacher` ({folder}): there is no such folder. Give the folder of a trained depth "
            "model as DepthModel.save_pretrained writes it."
        )
    return path
