"""Who labels: anything with a name, a digest of what decides its output, and `predict`."""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from nightrain.datasets.errors import InvalidRequest

if TYPE_CHECKING:
    from nightrain.depthmodel.network.model import DepthModel


class Teacher(Protocol):
    """Predicts depth from clear pictures; picklable, and loads nothing until it is asked."""

    @property
    def name(self) -> str:
        """Short name in lower case that starts the name of its table of labels: "ssd-t"."""
        ...

    @property
    def digest(self) -> str:
        """Hexadecimal digest of weights and settings: another one where other depth may come."""
        ...

    def predict(self, images: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """Depth (H, W) float32 in metres per picture (H, W, 3) uint8 sRGB.

        Raises InvalidRequest where the weights are missing.
        """
        ...


@dataclass(frozen=True)
class SavedTeacher:
    """A depth model in a folder that `save_pretrained` wrote; loaded once per process.

    `saved_ns` says which: where another model was saved there since, one that is loaded already
    goes on with its own weights and digest, and one loaded now has another digest.
    """

    folder: Path
    name: str
    device: str
    saved_ns: int

    @property
    def digest(self) -> str:
        """The model's own digest over its configuration and weights; raises InvalidRequest."""
        return _loaded(self)[1]

    @property
    def runs_on(self) -> str:
        """Kind of device that predicts: "cpu", "cuda"."""
        return self.device.partition(":")[0]

    def predict(self, images: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """Depth (H, W) float32 in metres per picture (H, W, 3) uint8; raises InvalidRequest."""
        return _loaded(self)[0].predict(images, batch_size=len(images))


def load_teacher(folder: Path, name: str = "", device: str | None = None) -> SavedTeacher:
    """The teacher of a folder, on the GPU where there is one; its name is the folder's.

    Raises InvalidRequest where there is no such folder or no name can be made.
    """
    if not folder.is_dir():
        raise InvalidRequest(
            f"There is no folder {folder}. Give the folder of a trained depth model."
        )
    folder = folder.resolve()
    slug = re.sub(r"[^a-z0-9]+", "-", (name or folder.name).lower()).strip("-")
    if not slug:
        raise InvalidRequest(
            f"{name or folder.name!r} gives no name of letters and digits; say --name."
        )
    times = [path.stat().st_mtime_ns for path in folder.glob("*.safetensors")]
    return SavedTeacher(folder, slug, device or _best_device(), max(times, default=0))


@functools.cache
def _loaded(teacher: SavedTeacher) -> tuple["DepthModel", str]:
    """The model and its digest, which reads all weights."""
    from nightrain.depthmodel.network.model import DepthModel

    model = DepthModel.from_pretrained(teacher.folder, teacher.device)
    return model, model.digest


def _best_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
