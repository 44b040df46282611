"""Depth completion by the network: dense depth with confidence from an image and LiDAR returns.

The weights are part of the package (depthmodel/completion/weights), in half precision; they are
compared with their SHA256SUMS before they are loaded.
"""

import functools
import json
import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.geometry.sky_mask import enlarged
from nightrain.datasets.io.atomic import write_whole
from nightrain.depthmodel.completion.inputs import (
    MASK,
    MEASURED,
    SKY,
    completion_inputs,
    working_size,
)
from nightrain.depthmodel.completion.network import LOG_CENTRE, CompletionNetwork
from nightrain.depthmodel.completion.returns import bounded, may_be_sky, propagated
from nightrain.depthmodel.package_weights import (
    check_package,
    package_digest,
    package_folder,
    write_sums,
)

WEIGHTS = "package:nightrain.depthmodel.completion/weights"
FILE, CONFIG = "model.safetensors", "config.json"
TOLERANCE = math.log(1.1)  # confidence is the probability of an error below 10 %
MIN_CONFIDENCE = 1e-3


@dataclass(frozen=True, slots=True)
class CompletedDepth:
    """Dense depth of one image, with its confidence."""

    solid_m: np.ndarray  # (H, W) float32, metres, > 0, finite: as if nothing were sky
    is_sky: np.ndarray  # (H, W) bool
    confidence: np.ndarray  # (H, W) float32 in (0, 1]: probability of an error below 10 %

    @property
    def depth_m(self) -> np.ndarray:
        """Depth (H, W) float32 in metres, > 0, sky = inf."""
        return np.where(self.is_sky, np.float32(np.inf), self.solid_m)

    def at_size(self, size: tuple[int, int]) -> "CompletedDepth":
        """Return the same at `size` = (width, height), linear in log depth; outlines are smooth."""
        if size == (self.solid_m.shape[1], self.solid_m.shape[0]):
            return self
        log_depth, confidence = (
            cv2.resize(values, size, interpolation=cv2.INTER_LINEAR)
            for values in (np.log(self.solid_m), self.confidence)
        )
        return CompletedDepth(np.exp(log_depth), enlarged(self.is_sky, size), confidence)


@dataclass(frozen=True)
class DepthCompleter:
    """Completion network with its calibration; `digest` identifies the weights."""

    network: CompletionNetwork
    digest: str
    scale_factor: float = 1.0  # of the predicted scales, calibrated on held-out places

    def complete(self, image: np.ndarray, sparse_m: np.ndarray) -> CompletedDepth:
        """Complete sparse depth (H, W) in metres, 0 = none, with an image (H, W, 3) uint8.

        The network's result, at about 384x224 pixels, is enlarged. Raises DamagedInput(NO_DEPTH)
        for fewer than 16 returns, ValueError where the sizes differ.
        """
        found = self.complete_small(image, sparse_m)
        return found.at_size((image.shape[1], image.shape[0]))

    @torch.inference_mode()
    def complete_small(self, image: np.ndarray, sparse_m: np.ndarray) -> CompletedDepth:
        """Complete depth like `complete`, at the network's size (h, w) of `working_size`."""
        height, width = sparse_m.shape
        if image.shape != (height, width, 3):
            raise ValueError(f"depth {sparse_m.shape} and image {image.shape} do not match")
        tensor, planes = completion_inputs(image, sparse_m, working_size((width, height)))
        device = next(self.network.parameters()).device
        output = self.network(tensor[None].to(device), planes[None].to(device))
        log_depth, scale, sky = (part[0, 0].float().cpu().numpy() for part in output)
        mask, measured = planes[MASK].numpy() > 0, planes[MEASURED].numpy() + LOG_CENTRE
        scale = scale * np.float32(self.scale_factor)
        log_depth = bounded(log_depth, measured, mask)
        log_depth, scale = propagated(log_depth, scale, measured, mask)
        # Both must agree: the network alone takes some smooth grey ceilings for sky.
        is_sky = (sky > 0) & (planes[SKY].numpy() > 0) & may_be_sky(mask)
        confidence = _confidence(scale, sky, is_sky)
        return CompletedDepth(np.exp(log_depth).astype(np.float32), is_sky, confidence)


def _confidence(scale: np.ndarray, sky_logit: np.ndarray, is_sky: np.ndarray) -> np.ndarray:
    """Probability (H, W) that the decision on sky is right and the error is below the tolerance."""
    sky = 1 / (1 + np.exp(-np.clip(sky_logit, -20, 20)))
    within = 1 - np.exp(-TOLERANCE / scale)
    found = np.where(is_sky, sky, np.where(sky_logit > 0, 1.0, 1 - sky) * within)
    return np.clip(found, MIN_CONFIDENCE, 1.0).astype(np.float32)


@functools.lru_cache(maxsize=2)
def load_completer(weights: str = WEIGHTS, device: str = "cpu") -> DepthCompleter:
    """Load a network by the name of its package weights, or its folder.

    Raises InvalidRequest if a file is missing, cut or changed.
    """
    folder = weights_folder(weights)
    check_package(folder)
    network = CompletionNetwork()
    try:
        tensors = load_file(folder / FILE)
        network.load_state_dict({name: _wide(value) for name, value in tensors.items()})
        factor = float(json.loads((folder / CONFIG).read_text())["scale_factor"])
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise InvalidRequest(
            f"The weights in {folder} do not fit the completion network of this version: "
            f"{str(error).splitlines()[0][:200]}. Train it again, or use the version's own weights."
        ) from error
    return DepthCompleter(network.to(device).eval(), weights_digest(weights), factor)


def weights_digest(weights: str = WEIGHTS) -> str:
    """First 12 hex digits of the digest of the weights' SHA256SUMS; raises InvalidRequest."""
    return package_digest(weights_folder(weights))[:12]


def weights_folder(weights: str) -> Path:
    """Folder of package weights by name, or a folder as it is."""
    return package_folder(weights) if weights.startswith("package:") else Path(weights)


def save_weights(network: nn.Module, folder: Path, scale_factor: float) -> None:
    """Write weights in half precision, their calibration and SHA256SUMS."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: _narrow(value) for name, value in network.state_dict().items()}
    save_file(tensors, folder / FILE)
    write_whole(folder / CONFIG, json.dumps({"scale_factor": round(scale_factor, 4)}) + "\n")
    write_sums(folder)


def _narrow(value: Tensor) -> Tensor:
    half = value.detach().half() if value.is_floating_point() else value.detach()
    return half.contiguous()


def _wide(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value
