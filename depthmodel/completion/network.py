"""Completion network: a residual to the classical completion, its scale of error, and sky.

An EfficientNet-Lite0 sees the image; a light branch sees the sparse depth and the completion
without a network (datasets/geometry/completion.py). A decoder joins both from 1/32 to full size.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nightrain.depthmodel.config import IMAGENET_EFFICIENTNET, EncoderConfig
from nightrain.depthmodel.network.efficientnet import EfficientNetEncoder

NUM_INPUTS = 8  # planes of `completion_inputs`
MULTIPLE = 32  # width and height of the network's input are multiples of it
SPARSE_CHANNELS = (24, 32, 40, 48)  # at 1/2, 1/4, 1/8 and 1/16
DECODER_CHANNELS = (96, 64, 48, 32, 32)  # at 1/32, 1/16, 1/8, 1/4 and 1/2
MIN_SCALE, MAX_SCALE = 0.003, 3.0  # of the error of log depth
FROZEN_BLOCKS = 2  # of the encoder: generic filters at its largest maps


class CompletionOutput(NamedTuple):
    """Output of the network, each (B, 1, H, W)."""

    log_depth: Tensor  # of depth in metres
    scale: Tensor  # of the Laplace distribution of the error of log depth
    sky_logit: Tensor


class CompletionNetwork(nn.Module):
    """Dense depth, scale of its error and sky, from an image and planes of sparse depth."""

    def __init__(self, *, pretrained: bool = False) -> None:
        super().__init__()
        start = IMAGENET_EFFICIENTNET if pretrained else None
        self.encoder = EfficientNetEncoder(
            EncoderConfig(kind="efficientnet", size="lite0", pretrained=start)
        )
        s, d = SPARSE_CHANNELS, DECODER_CHANNELS
        self.sparse = nn.ModuleList(
            [
                _conv(4 * NUM_INPUTS, s[0], norm=False),
                *(_conv(a, b, stride=2) for a, b in pairwise(s)),
            ]
        )
        maps = self.encoder.channels  # at 1/4, 1/8, 1/16 and 1/32
        self.top = _conv(maps[3], d[0], kernel=1)
        self.up = nn.ModuleList(
            [
                _conv(d[0] + maps[2] + s[3], d[1]),
                _conv(d[1] + maps[1] + s[2], d[2]),
                _conv(d[2] + maps[0] + s[1], d[3]),
                _conv(d[3] + s[0], d[4], norm=False),
            ]
        )
        self.last = nn.Conv2d(d[4], 4 * 3, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    def forward(self, image: Tensor, planes: Tensor) -> CompletionOutput:
        """Complete depth: a normalised image (B, 3, H, W) and planes (B, NUM_INPUTS, H, W).

        H and W are multiples of 32; the first plane is the log depth that the residual is added to.
        """
        maps = self.encoder(image)
        sparse, x = list[Tensor](), F.pixel_unshuffle(planes, 2)
        for layer in self.sparse:
            x = layer(x)
            sparse.append(x)
        x = self.top(maps[3])
        skips = ((maps[2], sparse[3]), (maps[1], sparse[2]), (maps[0], sparse[1]), (sparse[0],))
        for layer, parts in zip(self.up, skips, strict=True):
            x = layer(torch.cat([_twice(x), *parts], 1))
        x = F.pixel_shuffle(self.last(x), 2)  # (B, 3, H, W)
        scale = F.softplus(x[:, 1:2] - 2.0).clamp(MIN_SCALE, MAX_SCALE)
        return CompletionOutput(unscaled(planes[:, :1]) + x[:, :1], scale, x[:, 2:])

    def freeze_lower(self) -> None:
        """Freeze the encoder's first blocks, which have generic filters."""
        network = self.encoder.network
        lower = [network.conv_stem, network.bn1, *network.blocks[:FROZEN_BLOCKS]]
        for module in lower:
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> "CompletionNetwork":
        """Set the training mode; the encoder keeps the batch statistics of its pretraining."""
        super().train(mode)
        self.encoder.eval()
        return self


LOG_CENTRE = 2.7  # of log depth in metres: 15 m


def scaled(log_depth: Tensor) -> Tensor:
    """Log depth as the network sees it, about 0."""
    return log_depth - LOG_CENTRE


def unscaled(value: Tensor) -> Tensor:
    """Inverse of `scaled`."""
    return value + LOG_CENTRE


def _conv(
    channels_in: int, channels: int, *, stride: int = 1, kernel: int = 3, norm: bool = True
) -> nn.Sequential:
    parts: list[nn.Module] = [nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2)]
    if norm:
        parts.append(nn.GroupNorm(4, channels))
    return nn.Sequential(*parts, nn.ReLU(inplace=True))


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
