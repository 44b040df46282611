"""Depth networks of some ten thousand weights, and published encoders of that size on disk."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    ConvNextForImageClassification,
    Dinov2Config,
    Dinov2Model,
    PreTrainedModel,
    ResNetForImageClassification,
    SwinForImageClassification,
)

from nightrain.depthmodel.config import DepthConfig, EncoderConfig, Kind
from nightrain.depthmodel.decoder_config import DptConfig
from nightrain.depthmodel.network.encoder import NUMBERS, encoder_config
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.network.model_card import ModelCard
from nightrain.depthmodel.weights import Weights

KINDS: tuple[Kind, ...] = ("dinov2", "swin", "resnet", "convnext")
PUBLISHED: dict[Kind, type[PreTrainedModel]] = {  # the classes that the hub's folders were saved of
    "dinov2": Dinov2Model,
    "swin": SwinForImageClassification,
    "resnet": ResNetForImageClassification,
    "convnext": ConvNextForImageClassification,
}


def tiny_config(
    kind: Kind = "resnet", pretrained: Weights | None = None, **changes: Any
) -> DepthConfig:
    """A configuration whose input is 112 x 56."""
    decoder = DptConfig(reassemble_channels=(8, 8, 8, 8), fusion_channels=8, head_channels=8)
    fields = {"decoder": decoder, "input_size": (112, 56)} | changes
    encoder = EncoderConfig(kind=kind, size="test", pretrained=pretrained)
    return DepthConfig(encoder=encoder, **fields)


def tiny_model(kind: Kind = "resnet", seed: int = 0, **changes: Any) -> DepthModel:
    """A random network whose depth varies over the image, in eval mode."""
    torch.manual_seed(seed)
    model = DepthModel(tiny_config(kind, **changes)).eval()
    torch.nn.init.normal_(model.decoder.logit.weight, std=1.0)
    return model


def save_teacher(folder: Path, seed: int = 0) -> Path:
    """A random network of input size 64 x 40 in a model folder, which labels can be made with."""
    card = ModelCard(title="tiny", description="For tests.", data_set="none")
    tiny_model(seed=seed, input_size=(64, 40)).save_pretrained(folder, card)
    return folder


def published(folder: Path, kind: Kind, size: str = "test") -> Path:
    """An encoder in the layout of the hub, with random weights and, for DINOv2, its mask token."""
    torch.manual_seed(1)
    config = encoder_config(EncoderConfig(kind=kind, size=size))
    if kind == "dinov2":
        config = Dinov2Config(**NUMBERS[kind, size], patch_size=14)
        assert config.use_mask_token
    model = PUBLISHED[kind](config)
    with torch.no_grad():  # norms start at 1 and 0, which would hide one that is not loaded
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    model.save_pretrained(folder)
    return folder
