"""Completed depth: LiDAR returns made dense by the completion network, as a depth source."""

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.geometry.sky_mask import enlarged
from nightrain.depthmodel.package_weights import package_digest, package_folder
from nightrain.pipelines.controls.depth_source import (
    DepthInput,
    ImageWindow,
    RelativeDepth,
    at_size,
)
from nightrain.pipelines.controls.networks import loading
from nightrain.pipelines.runs.devices import on_side_stream

if TYPE_CHECKING:
    from nightrain.depthmodel.completion.complete import DepthCompleter

COMPLETION_WEIGHTS = "package:nightrain.depthmodel.completion/weights"
VERSION = "2"  # increased when equal weights and inputs give another depth
LEAST_INVERSE = 1 / 240  # 1/m; less is sky
SKY_REACH_PX = 5


@dataclass(frozen=True)
class CompletedNetworkDepth:
    """Depth of the completion network; loaded at the first image, once per process."""

    weights: str = COMPLETION_WEIGHTS

    @property
    def name(self) -> str:
        """Version and digest of the weights, which are not read; raises InvalidRequest."""
        return f"completed:{package_digest(package_folder(self.weights))[:12]}:{VERSION}"

    def depth(self, scene: DepthInput) -> RelativeDepth:
        """Return 1/z (h, w), 0 in the sky, at the network's size, which is smaller than the image.

        Raises InvalidRequest, and DamagedInput(NO_DEPTH) for fewer than 16 returns.
        """
        sparse_m = scene.lidar_depth_m if isinstance(scene, ImageWindow) else None
        if sparse_m is None:
            raise DamagedInput(
                Reason.NO_DEPTH,
                "the frame has no LiDAR depth, which the completion network needs",
            )
        completer = _load(self.weights)
        with on_side_stream(next(completer.network.parameters()).device):
            found = completer.complete_small(scene.image, sparse_m)
        inverse = np.where(found.is_sky, 0.0, np.maximum(1 / found.solid_m, LEAST_INVERSE))
        return RelativeDepth(inverse.astype(np.float32), sky=found.is_sky, is_metric=True)


def completed_depth(inverse_depth: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Depth (H, W) float32 in metres, sky = inf, at `size` = (width, height) of a map (h, w).

    Sky and depth are enlarged separately, so that no depth is averaged with the sky behind it.
    """
    sky = inverse_depth < 0.5 * LEAST_INVERSE
    filled = cv2.dilate(inverse_depth, np.ones((SKY_REACH_PX, SKY_REACH_PX), np.uint8))
    solid = np.maximum(np.where(sky, filled, inverse_depth), np.float32(LEAST_INVERSE))
    depth_m = np.exp(-at_size(np.log(solid), size))
    depth_m[enlarged(sky, size)] = np.inf
    return depth_m.astype(np.float32)


@functools.lru_cache(maxsize=1)
def _load(weights: str) -> "DepthCompleter":
    import torch

    from nightrain.depthmodel.completion.complete import load_completer

    with loading(weights):
        return load_completer(weights, "cuda" if torch.cuda.is_available() else "cpu")
