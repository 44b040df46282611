"""Encoders: an image to four feature maps, fine to coarse, with the networks of transformers.

DINOv2 returns the final-norm patch tokens after the last block of each quarter, all on one grid of
14-pixel patches; Swin, ResNet and ConvNeXt return their stages at 1/4, 1/8, 1/16 and 1/32.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    ConvNextBackbone,
    ConvNextConfig,
    Dinov2Backbone,
    Dinov2Config,
    PreTrainedConfig,
    ResNetBackbone,
    ResNetConfig,
    SwinBackbone,
    SwinConfig,
)

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.registry import is_reference, one_line
from nightrain.depthmodel.config import ENCODERS, EncoderConfig, Normalisation
from nightrain.depthmodel.loading_reports import quiet_transformers
from nightrain.depthmodel.network.timm_swin import load_timm_swin, timm_architecture
from nightrain.depthmodel.weights import resolve

# Settings of the published models (config.json on the hub); "mini" and "micro" are ours, for
# training from scratch on a CPU; "test" is for tests.
NUM_MAPS = 4
CHECKED_SIDE = 64  # pixels, of the image that a class of one's own is tried on
NUMBERS: dict[tuple[str, str], dict[str, Any]] = {
    ("dinov2", "small"): {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6},
    ("dinov2", "base"): {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
    ("dinov2", "large"): {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16},
    ("dinov2", "giant"): {
        "hidden_size": 1536,
        "num_hidden_layers": 40,
        "num_attention_heads": 24,
        "use_swiglu_ffn": True,
    },
    ("dinov2", "mini"): {
        "hidden_size": 128,
        "num_hidden_layers": 8,
        "num_attention_heads": 4,
        "image_size": 224,
    },
    ("dinov2", "test"): {
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "image_size": 56,
    },
    ("swin", "tiny"): {"embed_dim": 96, "depths": (2, 2, 6, 2), "num_heads": (3, 6, 12, 24)},
    ("swin", "small"): {"embed_dim": 96, "depths": (2, 2, 18, 2), "num_heads": (3, 6, 12, 24)},
    ("swin", "base"): {"embed_dim": 128, "depths": (2, 2, 18, 2), "num_heads": (4, 8, 16, 32)},
    ("swin", "large"): {"embed_dim": 192, "depths": (2, 2, 18, 2), "num_heads": (6, 12, 24, 48)},
    ("swin", "test"): {
        "embed_dim": 8,
        "depths": (1, 1, 2, 1),
        "num_heads": (1, 1, 2, 2),
        "window_size": 4,
    },
    ("resnet", "18"): {
        "hidden_sizes": (64, 128, 256, 512),
        "depths": (2, 2, 2, 2),
        "layer_type": "basic",
    },
    ("resnet", "50"): {"hidden_sizes": (256, 512, 1024, 2048), "depths": (3, 4, 6, 3)},
    ("resnet", "mini"): {
        "embedding_size": 32,
        "hidden_sizes": (32, 64, 128, 256),
        "depths": (2, 2, 2, 2),
        "layer_type": "basic",
    },
    ("resnet", "micro"): {
        "embedding_size": 32,
        "hidden_sizes": (32, 64, 128, 192),
        "depths": (1, 1, 1, 1),
        "layer_type": "basic",
    },
    ("resnet", "test"): {
        "embedding_size": 8,
        "hidden_sizes": (8, 8, 16, 16),
        "depths": (1, 1, 1, 1),
        "layer_type": "basic",
    },
    ("convnext", "tiny"): {"hidden_sizes": [96, 192, 384, 768], "depths": [3, 3, 9, 3]},
    ("convnext", "small"): {"hidden_sizes": [96, 192, 384, 768], "depths": [3, 3, 27, 3]},
    ("convnext", "base"): {"hidden_sizes": [128, 256, 512, 1024], "depths": [3, 3, 27, 3]},
    ("convnext", "mini"): {"hidden_sizes": [32, 64, 128, 256], "depths": [2, 2, 4, 2]},
    ("convnext", "test"): {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]},
}
# Not AutoBackbone: it asks the hub whether a local folder is one of its models.
CLASSES: dict[str, tuple[Any, Any]] = {
    "dinov2": (Dinov2Config, Dinov2Backbone),
    "swin": (SwinConfig, SwinBackbone),
    "resnet": (ResNetConfig, ResNetBackbone),
    "convnext": (ConvNextConfig, ConvNextBackbone),
}
# Tensors that a published model may lack, and those of it that are not used here.
NOT_PUBLISHED = ("hidden_states_norms.", "swin.layernorm.")
LEFT_OUT = ("classifier.", "pooler", "layernorm.", "mask_token", "relative_position_index")

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MIN_STD = 1e-3  # for an image of a single colour


class Encoder(nn.Module, ABC):
    """Encoder: an image to four feature maps, fine to coarse.

    A class of your own is constructed with the `options` of its configuration. It sets `channels`
    (C_0 .. C_3), `patch` (pixels along a ViT's patch; images are resized to multiples of it; None
    for a pyramid at 1/4, 1/8, 1/16 and 1/32, which takes any size) and `name` (identifies the
    loaded weights).
    """

    channels: tuple[int, ...]
    patch: int | None = None
    name: str = "random"

    @abstractmethod
    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Four feature maps (B, C_i, h_i, w_i) of a normalised image (B, 3, H, W)."""

    def low(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The two finer maps of a normalised image (B, 3, H, W)."""
        fine, coarse, *_ = self(image)
        return fine, coarse


class TransformersEncoder(Encoder):
    """DINOv2, Swin, ResNet or ConvNeXt of transformers.

    Raises InvalidRequest where the pretrained weights are missing or of another network.
    """

    def __init__(self, config: EncoderConfig, in_channels: int = 3) -> None:
        super().__init__()
        wanted = encoder_config(config, in_channels)
        if config.pretrained is None:
            self.network: Any = CLASSES[config.kind][1](wanted)
        else:
            found = resolve(config.pretrained)
            self.name = found.name
            self.network = _load(found.folder, found.name, config, in_channels)
        if config.kind == "swin":
            _use_the_final_norm(self.network)
        self.patch = wanted.patch_size if config.kind == "dinov2" else None
        self.channels = tuple(self.network.channels)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Four feature maps of a normalised image (B, 3, H, W)."""
        return tuple(self.network(image).feature_maps)

    def low(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The two finer maps alone; a ResNet computes no more than these."""
        if isinstance(self.network, ResNetBackbone):
            stem: torch.Tensor = self.network.embedder(image)
            fine = self.network.encoder.stages[0](stem)
            return fine, self.network.encoder.stages[1](fine)
        return super().low(image)


def make_encoder(config: EncoderConfig) -> Encoder:
    """Construct the encoder of a configuration, for RGB images; raises InvalidRequest."""
    found = ENCODERS.load(config.kind)
    if not is_reference(config.kind):
        return found(config)
    encoder = found(**config.options)
    channels = getattr(encoder, "channels", ())
    if len(channels) != NUM_MAPS:
        raise InvalidRequest(
            f"encoder {config.kind!r} has channels {tuple(channels)}, expected {NUM_MAPS} maps, "
            "fine to coarse: set its attribute channels."
        )
    _check_maps(config.kind, encoder)
    return encoder


@torch.no_grad()
def _check_maps(kind: str, encoder: Encoder) -> None:
    """Raise InvalidRequest unless an own encoder's maps have the channels and sizes it states."""
    side = CHECKED_SIDE if encoder.patch is None else 4 * encoder.patch
    was_training, image = encoder.training, torch.zeros(1, 3, side, side)
    try:
        with torch.random.fork_rng(devices=[]):
            shapes = [tuple(found.shape) for found in encoder.eval()(image)]
    except Exception as error:  # whatever the class does
        raise InvalidRequest(
            f"encoder {kind!r} does not take an image of {side} x {side} pixels "
            f"({one_line(error)}): return four maps of any image."
        ) from error
    finally:
        encoder.train(was_training)
    grids = (4, 4, 4, 4) if encoder.patch else tuple(side // s for s in (4, 8, 16, 32))
    expected = [(1, c, g, g) for c, g in zip(encoder.channels, grids, strict=True)]
    if shapes != expected:
        raise InvalidRequest(
            f"encoder {kind!r} returns maps of {_sizes(shapes)} for an image of {side} x {side} "
            f"pixels, expected {_sizes(expected)}: correct its attributes channels and patch, or "
            "its maps."
        )


def _sizes(shapes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join(" x ".join(map(str, shape[1:])) for shape in shapes)


def normalised(image: torch.Tensor, how: Normalisation) -> torch.Tensor:
    """Normalise an image (B, 3, H, W), RGB in [0, 1], as encoders expect it."""
    if how == "imagenet":
        mean, std = (image.new_tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        return (image - mean) / std
    if how == "per-image":
        mean = image.mean(dim=(1, 2, 3), keepdim=True)
        std = (image - mean).square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        return (image - mean) / std.clamp_min(MIN_STD)
    return image


def encoder_config(config: EncoderConfig, in_channels: int = 3) -> PreTrainedConfig:
    """Configuration of transformers for an encoder that returns four maps."""
    numbers = dict(NUMBERS[config.kind, config.size])
    if config.kind == "dinov2":
        # The mask token belongs to DINOv2's own training and would never get a gradient.
        numbers = {"image_size": 518, "patch_size": 14, "use_mask_token": False} | numbers
    if config.kind != "resnet":
        numbers["drop_path_rate"] = config.drop_path
    blocks = numbers.get("num_hidden_layers", 4)
    taps = [f"stage{blocks * quarter // 4}" for quarter in (1, 2, 3, 4)]
    return CLASSES[config.kind][0](num_channels=in_channels, out_features=taps, **numbers)


def _load(folder: Path, name: str, config: EncoderConfig, in_channels: int) -> Any:
    """Load a published encoder; its tensors must be exactly those of the configuration."""
    if architecture := timm_architecture(folder):
        return _load_timm(folder, name, config, architecture)
    found = AutoConfig.from_pretrained(str(folder), local_files_only=True)
    if found.model_type != config.kind:
        raise InvalidRequest(
            f"{name} is a model of type {found.model_type!r}, expected {config.kind!r}: give "
            "weights of that kind, or change the encoder's kind."
        )
    try:
        with quiet_transformers():
            encoder, report = CLASSES[config.kind][1].from_pretrained(
                str(folder),
                config=encoder_config(config),
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
    except RuntimeError as error:  # of another size
        raise InvalidRequest(_other_size(name, config, "its tensors have other shapes")) from error
    _check_names(name, config, report["missing_keys"], report["unexpected_keys"])
    if in_channels != 3:
        _repeat_input(encoder, in_channels)
    return encoder


def _load_timm(folder: Path, name: str, config: EncoderConfig, architecture: str) -> Any:
    """Load a Swin of timm as the Swin of transformers."""
    if config.kind != "swin" or not architecture.startswith("swin_"):
        raise InvalidRequest(
            f"{name} is timm's {architecture!r}, expected a {config.kind} of transformers: of timm "
            "only Swin is loaded."
        )
    encoder = CLASSES["swin"][1](encoder_config(config))
    try:
        report = encoder.load_state_dict(load_timm_swin(folder), strict=False)
    except RuntimeError as error:  # of another size
        raise InvalidRequest(_other_size(name, config, "its tensors have other shapes")) from error
    _check_names(name, config, report.missing_keys, report.unexpected_keys)
    return encoder


def _check_names(
    name: str, config: EncoderConfig, missing: Iterable[str], unexpected: Iterable[str]
) -> None:
    """Raise InvalidRequest unless weights have exactly the tensors of the configuration."""
    lacking, extra = _other_than(NOT_PUBLISHED, missing), _other_than(LEFT_OUT, unexpected)
    lacking = [k for k in lacking if "relative_position_index" not in k]  # computed, not stored
    if lacking or extra:
        found_text = f"{len(lacking)} tensors are missing and {len(extra)} are unknown"
        first = (lacking + extra)[0]
        raise InvalidRequest(_other_size(name, config, f"{found_text}, the first being {first}"))


def _other_than(known: tuple[str, ...], keys: Iterable[str]) -> list[str]:
    """Names of tensors other than the known ones, with or without the model's prefix."""
    names = sorted(keys)
    return [k for k in names if not any(k.startswith(x) or f".{x}" in k for x in known)]


def _other_size(name: str, config: EncoderConfig, found: str) -> str:
    return (
        f"{name} is not a {config.kind} of size {config.size!r}: {found}. Change the encoder's "
        "size, or give the weights of that size."
    )


def _use_the_final_norm(encoder: Any) -> None:
    """Use Swin's pretrained final norm for its last map instead of a new one."""
    encoder.hidden_states_norms["stage4"] = encoder.swin.layernorm
    encoder.swin.layernorm = nn.Identity()


def _repeat_input(encoder: Any, in_channels: int) -> None:
    """Widen a ResNet's input to several images, with the same filters scaled to the same sum."""
    layer: nn.Conv2d = encoder.embedder.embedder.convolution
    with torch.no_grad():
        weight = layer.weight.repeat(1, in_channels // 3, 1, 1) * (3 / in_channels)
    layer.weight = nn.Parameter(weight)
    layer.in_channels = in_channels
    encoder.config.num_channels = encoder.embedder.num_channels = in_channels
