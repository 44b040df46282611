"""Labelling model: has a name, a digest of everything that affects its output, and `predict`."""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.regular import matching
from nightrain.depthmodel.model_header import saved_digest

if TYPE_CHECKING:
    from nightrain.depthmodel.network.model import DepthModel


class LabellingModel(Protocol):
    """Predicts the depth of clear images; picklable, and loads its weights on first use."""

    @property
    def name(self) -> str:
        """Short name in lower case that starts the name of its table of labels: "ssd-t"."""
        ...

    @property
    def digest(self) -> str:
        """Hexadecimal digest of weights and settings; it changes whenever the output may change."""
        ...

    @property
    def runs_on(self) -> str:
        """Type of device that predicts: "cpu", "cuda"."""
        ...

    def predict(self, images: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """Predict depth (H, W) float32 in metres for each image (H, W, 3) uint8 sRGB.

        Raises InvalidRequest if the weights are missing.
        """
        ...


@dataclass(frozen=True)
class SavedLabellingModel:
    """A depth model in a folder that `save_pretrained` wrote; loaded once per process.

    `saved_ns` identifies the saved weights: if the folder is overwritten later, a loaded model
    keeps its own weights and digest, and a model loaded after that has another digest.
    """

    folder: Path
    name: str
    device: str | None  # None: the GPU if there is one
    saved_ns: int

    @property
    def digest(self) -> str:
        """The model's own digest over its configuration and weights; raises InvalidRequest.

        The folder states it, so that a plan imports no torch; the weights are compared with it
        when they are loaded.
        """
        return _stated_digest(self)

    @property
    def runs_on(self) -> str:
        """Kind of device that predicts: "cpu", "cuda"."""
        return (self.device or _best_device()).partition(":")[0]

    def predict(self, images: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """Predict depth (H, W) float32 in metres per image (H, W, 3); raises InvalidRequest."""
        from nightrain.depthmodel.network.predict import predict

        return predict(_loaded(self), images, batch_size=len(images))


def load_labelling_model(
    folder: Path, name: str = "", device: str | None = None
) -> SavedLabellingModel:
    """Return a folder's depth model, on the GPU if there is one; weights are loaded on first use.

    The name defaults to the folder's. Raises InvalidRequest if the folder is missing or the name
    contains neither a letter nor a digit.
    """
    if not folder.is_dir():
        raise InvalidRequest(
            f"{folder} is not a folder; expected the folder of a trained depth model, such as "
            "RUN/model."
        )
    folder = folder.resolve()
    slug = re.sub(r"[^a-z0-9]+", "-", (name or folder.name).lower()).strip("-")
    if not slug:
        raise InvalidRequest(
            f"The name {name or folder.name!r} has neither a letter nor a digit; set another with "
            "--name."
        )
    times = [path.stat().st_mtime_ns for path in matching(folder, "*.safetensors")]
    return SavedLabellingModel(folder, slug, device, max(times, default=0))


@functools.cache
def _stated_digest(model: SavedLabellingModel) -> str:
    return saved_digest(model.folder)


@functools.cache
def _loaded(model: SavedLabellingModel) -> "DepthModel":
    """Load the network, whose weights must be those that the digest was read of."""
    from nightrain.depthmodel.network.model import DepthModel

    digest = _stated_digest(model)
    network = DepthModel.from_pretrained(model.folder, model.device or _best_device())
    if saved_digest(model.folder) != digest:
        raise InvalidRequest(
            f"{model.folder} was replaced by another model during the run. Run the job again."
        )
    return network


def _best_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
