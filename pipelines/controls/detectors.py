"""Detectors of controlnet-aux: MiDaS, as in SSD, and HED and PiDi soft edges.

controlnet-aux imports all its detectors, with a dozen warnings, so it is imported only when one is
needed. Its weights are pickles, which torch is made to read without running code. Its own
resizing rounds sides to 64 pixels and its depth output is 8-bit, so neither is used.
"""

import functools
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import cv2
import numpy as np

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.images import resize_image
from nightrain.datasets.registry import one_line
from nightrain.depthmodel.weights import Weights, resolve_file
from nightrain.pipelines.controls.depth_source import DepthInput, RelativeDepth, at_size
from nightrain.pipelines.controls.networks import (
    Precision,
    batch_size_on,
    loading,
    run_by_shape,
)
from nightrain.pipelines.runs.devices import on_side_stream

ANNOTATORS = Weights("lllyasviel/Annotators", "982e7edaec38759d914a963c48c4726685de7d96")
FILES = {
    "MidasDetector": "dpt_hybrid-midas-501f0c75.pt",
    "HEDdetector": "ControlNetHED.pth",
    "PidiNetDetector": "table5_pidinet.pth",
}
EDGE_DETECTORS = {"hed": "HEDdetector", "pidi": "PidiNetDetector"}
FORCE, FORCE_NOT = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
MIDAS_MULTIPLE = 32  # DPT accepts only sides that are multiples of this


@dataclass(frozen=True)
class MidasDepth:
    """MiDaS 3.0 DPT-Hybrid by controlnet-aux, as in SSD; float, at the image's aspect ratio."""

    model: Weights = ANNOTATORS
    short_side_px: int = 512  # network input; ControlNet's default
    dtype: Precision = "float32"  # on a GPU; a CPU computes in float32
    device: str = "auto"
    offline: bool | None = None
    detector: Any = None  # a loaded MidasDetector; None: loaded from `model`

    @property
    def name(self) -> str:
        """Weights, by the checksum in their file name, and the network's input size."""
        return f"midas:{Path(FILES['MidasDetector']).stem}:{self.short_side_px}:{self.dtype}"

    def depth(self, scene: DepthInput) -> RelativeDepth:
        """Inverse depth (H, W), larger = nearer.

        Raises InvalidRequest if the weights are missing.
        """
        return self.depths([scene])[0]

    def depths(self, scenes: Sequence[DepthInput]) -> list[RelativeDepth]:
        """Inverse depth (H, W) of each image; raises InvalidRequest if the weights are missing."""
        import torch

        detector = self.detector
        if detector is None:
            detector = load_detector("MidasDetector", self.model, self.device, self.offline)
        sizes = [(scene.image.shape[1], scene.image.shape[0]) for scene in scenes]
        seen = [
            resize_image(scene.image, _midas_size(*size, self.short_side_px))
            for scene, size in zip(scenes, sizes, strict=True)
        ]
        device = next(iter(detector.model.parameters())).device
        half = getattr(torch, self.dtype) if device.type == "cuda" else torch.float32

        def run(numbers: Sequence[int]) -> Sequence[np.ndarray]:
            pixels = torch.from_numpy(np.stack([seen[number] for number in numbers]))
            inputs = pixels.to(device).permute(0, 3, 1, 2).float() / 127.5 - 1.0  # (B, 3, h, w)
            return detector.model(inputs).float().cpu().numpy()  # (B, h, w)

        with on_side_stream(device), torch.inference_mode(), _precision(device, half):
            found = run_by_shape([image.shape for image in seen], batch_size_on(device), run)
        return [RelativeDepth(at_size(found[i], size)) for i, size in enumerate(sizes)]


def detector_edges(detector: Any, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Soft edges of an image (H, W, 3) uint8 by a detector: (height, width, 3) uint8, white lines.

    `detector` comes from `load_edges`, or is any other controlnet-aux detector.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        edges = detector(
            resize_image(image, size),
            detect_resolution=min(size),
            image_resolution=min(size),
            output_type="np",
        )
    return cv2.resize(edges, size, interpolation=cv2.INTER_LINEAR)


def load_edges(
    kind: Literal["hed", "pidi"],
    model: Weights = ANNOTATORS,
    device: str = "auto",
    offline: bool | None = None,
) -> Any:
    """Load the HED or PiDi detector; raises InvalidRequest if its weights are missing."""
    return load_detector(EDGE_DETECTORS[kind], model, device, offline)


@functools.lru_cache(maxsize=4)
def load_detector(kind: str, model: Weights, device: str, offline: bool | None) -> Any:
    """Load a detector of controlnet-aux by class name, once per process; raises InvalidRequest."""
    path = resolve_file(model, FILES[kind], offline=offline)
    detector = getattr(import_controlnet_aux(), kind)
    with loading(f"{model.id_or_folder}/{FILES[kind]}"):
        return _load(detector, path).to(_device(device))


def import_controlnet_aux() -> Any:
    """Import controlnet_aux without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import controlnet_aux
    return controlnet_aux


def _load(detector: Any, path: Path) -> Any:
    try:
        with warnings.catch_warnings(), _weights_only():
            warnings.simplefilter("ignore")
            return detector.from_pretrained(str(path.parent), filename=path.name)
    except (UnpicklingError, OSError, RuntimeError, EOFError, KeyError) as error:
        raise InvalidRequest(
            f"{path} is not a weights file of {detector.__name__}, or holds code, which is never "
            f"run ({one_line(error)[:200]}). Download it again."
        ) from error


@contextmanager
def _weights_only() -> Iterator[None]:
    """Let torch.load read nothing but tensors, whatever its caller or the environment asks for."""
    before = {name: os.environ.pop(name, None) for name in (FORCE, FORCE_NOT)}
    os.environ[FORCE] = "1"
    try:
        yield
    finally:
        del os.environ[FORCE]
        os.environ.update({name: value for name, value in before.items() if value is not None})


def _device(device: str) -> str:
    import torch

    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _precision(device: Any, dtype: Any) -> Any:
    """Context in which layers that can run in half precision do so."""
    import torch

    return torch.autocast(device.type, dtype, enabled=dtype is not torch.float32)


def _midas_size(width: int, height: int, short_side_px: int) -> tuple[int, int]:
    """Return (width, height) in multiples of 32, as close to the image's aspect as possible."""
    scale = short_side_px / min(width, height)
    sides = (round(side * scale / MIDAS_MULTIPLE) for side in (width, height))
    across, down = (max(1, side) * MIDAS_MULTIPLE for side in sides)
    return across, down
