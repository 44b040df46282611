"""What a network subtracts and divides by before its encoder."""

import torch

from nightrain.depthmodel.config import Normalisation

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MIN_STD = 1e-3  # of a picture of one colour


def normalised(image: torch.Tensor, how: Normalisation) -> torch.Tensor:
    """An image (B, 3, H, W), RGB in [0, 1], as an encoder wants it."""
    if how == "imagenet":
        mean, std = (image.new_tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        return (image - mean) / std
    if how == "per-image":
        mean = image.mean(dim=(1, 2, 3), keepdim=True)
        std = (image - mean).square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        return (image - mean) / std.clamp_min(MIN_STD)
    return image
