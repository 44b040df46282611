"""ImageNet features of EfficientNet-Lite0, with the weights of `efficientnet.py`.

A perceptual loss, distances between sets of pictures, and the classifier of conditions read them.
"""

from collections.abc import Sequence
from functools import cache
from typing import cast

import numpy as np
import torch
from torch import nn

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.images import resize_image
from nightrain.depthmodel.fold_batch_norms import fold_batch_norms
from nightrain.depthmodel.network.efficientnet import (
    MEAN_OF_PIXELS,
    PACKAGED,
    STD_OF_PIXELS,
    imagenet_tensors,
)

FROM_A_QUARTER = slice(1, None)  # of the feature maps: without those at half size
BLOCKS_OF_LEVELS = (1, 2, 3, 5, 7)  # needed for the finest 1, 2, ... 5 feature maps


class ImageFeatures(nn.Module):
    """Frozen features of images (B, 3, H, W) in [-1, 1] at 1/2, 1/4, ... 1/32 of their size.

    `num_levels` limits them to the finest ones.
    """

    def __init__(self, num_levels: int = 5) -> None:
        import timm

        super().__init__()
        packaged = PACKAGED["lite0"]
        self.features = timm.create_model(
            packaged.timm_name, features_only=True, out_indices=tuple(range(num_levels))
        )
        missing, _ = self.features.load_state_dict(imagenet_tensors(packaged), strict=False)
        if missing:
            raise InvalidRequest(f"timm's EfficientNet-Lite0 has other parts: {missing[:3]}.")
        blocks = cast(nn.Sequential, self.features.blocks)
        self.features.blocks = blocks[: BLOCKS_OF_LEVELS[num_levels - 1]]
        self.requires_grad_(False).eval()

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the feature maps, finest first."""
        pixels = (images + 1) / 2
        return self.features((pixels - MEAN_OF_PIXELS) / STD_OF_PIXELS)


@torch.no_grad()
def feature_maps(
    features: ImageFeatures, images: np.ndarray, batch: int = 32
) -> list[torch.Tensor]:
    """Feature maps of images (N, H, W, 3) uint8 at 1/4, 1/8, ... 1/32 of their size."""
    parts = []
    for start in range(0, len(images), batch):
        pixels = torch.from_numpy(images[start : start + batch]).permute(0, 3, 1, 2)
        parts.append(features(pixels.float() / 127.5 - 1)[FROM_A_QUARTER])
    return [torch.cat(level) for level in zip(*parts, strict=True)]


class PictureFeatures:
    """Feature maps of single pictures at one size; the last picture's are kept.

    So that several callers that look at the same picture share the network and its result.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size  # width, height
        self._features = ImageFeatures()
        fold_batch_norms(self._features)
        self._last: tuple[np.ndarray, list[torch.Tensor]] | None = None

    def __call__(self, image: np.ndarray) -> list[torch.Tensor]:
        """Feature maps (1, C, h, w) of an image (H, W, 3) uint8, which must not change later."""
        last = self._last
        if last is None or last[0] is not image:
            resized = resize_image(image, self._size)
            last = self._last = (image, feature_maps(self._features, resized[None]))
        return last[1]


@cache
def picture_features(size: tuple[int, int]) -> PictureFeatures:
    """Features of pictures at (width, height), shared by all callers; raises InvalidRequest."""
    return PictureFeatures(size)


def pooled(maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """Means (N, D) of feature maps over positions, all levels side by side; 496 of them all."""
    return torch.cat([level.mean((2, 3)) for level in maps], 1)


def pooled_features(
    network: ImageFeatures, images: Sequence[np.ndarray], size: tuple[int, int]
) -> np.ndarray:
    """Pooled features (N, 496) of images (H, W, 3) uint8 of any sizes, reduced to one size."""
    return pooled(
        feature_maps(network, np.stack([resize_image(one, size) for one in images]))
    ).numpy()


def perceptual_distance(features: ImageFeatures, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of the features, normalised per position (as in LPIPS)."""
    pairs = zip(features(a), features(b), strict=True)
    distances = [
        (nn.functional.normalize(x, dim=1) - nn.functional.normalize(y, dim=1)).square().sum(1)
        for x, y in pairs
    ]
    return torch.stack([distance.mean() for distance in distances]).mean()
