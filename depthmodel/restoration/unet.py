"""Restoration UNet: residual from noisy features, degraded features and the step.

A UNet (Ronneberger et al. 2015) as in diffusion models (Dhariwal and Nichol 2021): residual blocks
with a second norm scaled and shifted by the step (FiLM, Perez et al. 2018), and attention at the
two lowest resolutions. The last convolution starts at zero, so an untrained network has no effect.
IID-RDepth, eq. 4 (docs/papers/iid_rdepth.md).
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nightrain.depthmodel.config import RestorationConfig

HEAD_CHANNELS = 32
NUM_GROUPS = 32
LONGEST_PERIOD = 10_000.0


class RestorationUNet(nn.Module):
    """UNet: x_t and f (B, C, h, w) and the step t (B,) to the residual r (B, C, h, w), any h and w.

    Each resolution is half of the previous one, rounded up; upsampled maps are cropped to the skip.
    """

    def __init__(self, channels: int, config: RestorationConfig) -> None:
        super().__init__()
        widths = [config.base_channels * m for m in config.multipliers]
        lowest = len(widths) - 1
        self.time = TimeEmbedding(config.base_channels)

        def stage(channels: int, level: int) -> UNetStage:
            attends = level >= lowest - 1
            return UNetStage(channels, widths[level], self.time.out, config.num_blocks, attends)

        self.enter = nn.Conv2d(2 * channels, widths[0], 1)
        self.down = nn.ModuleList(stage(widths[level], level) for level in range(lowest))
        self.shrink = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths)
        )
        self.middle = stage(widths[lowest], lowest)
        self.grow = nn.ModuleList(nn.Conv2d(b, a, 3, padding=1) for a, b in pairwise(widths))
        self.up = nn.ModuleList(stage(2 * widths[level], level) for level in range(lowest))
        self.norm = _group_norm(widths[0])
        self.residual = nn.Conv2d(widths[0], channels, 3, padding=1)
        nn.init.zeros_(self.residual.weight)
        assert self.residual.bias is not None
        nn.init.zeros_(self.residual.bias)

    def forward(self, x: Tensor, features: Tensor, step: Tensor) -> Tensor:
        """Residual (B, C, h, w); exactly zero before any training."""
        time = self.time(step)  # (B, 4 base)
        y = self.enter(torch.cat((x, features), dim=1))
        skips: list[Tensor] = []
        for stage, shrink in zip(self.down, self.shrink, strict=True):
            y = stage(y, time)
            skips.append(y)
            y = shrink(y)  # (B, ., ceil(h / 2), ceil(w / 2))
        y = self.middle(y, time)
        for level in reversed(range(len(self.up))):
            skip = skips[level]
            y = F.interpolate(y, scale_factor=2.0, mode="nearest")
            y = self.grow[level](y[:, :, : skip.shape[2], : skip.shape[3]])
            y = self.up[level](torch.cat((y, skip), dim=1), time)
        return self.residual(F.silu(self.norm(y)))


class TimeEmbedding(nn.Module):
    """Time embedding of steps t (B,): sines and cosines, two linear layers, (B, 4 channels)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.num_waves, self.out = channels // 2, 4 * channels
        self.first = nn.Linear(channels, self.out)
        self.second = nn.Linear(self.out, self.out)

    def forward(self, step: Tensor) -> Tensor:
        """Embedding (B, 4 channels) of integer steps (B,)."""
        dtype = self.first.weight.dtype
        share = torch.arange(self.num_waves, device=step.device, dtype=dtype) / self.num_waves
        angle = step.to(dtype)[:, None] * torch.exp(-math.log(LONGEST_PERIOD) * share)
        waves = torch.cat((angle.sin(), angle.cos()), dim=1)  # (B, channels)
        return F.silu(self.second(F.silu(self.first(waves))))


class UNetStage(nn.Module):
    """Residual blocks at one resolution, then attention if `attends`."""

    def __init__(
        self, channels: int, out: int, time_channels: int, num_blocks: int, attends: bool
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            ResidualBlock(channels if block == 0 else out, out, time_channels)
            for block in range(num_blocks)
        )
        self.attention = Attention(out) if attends else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Map (B, out, h, w)."""
        for block in self.blocks:
            x = block(x, time)
        return self.attention(x)


class ResidualBlock(nn.Module):
    """Residual block: two normalised 3x3 convolutions, scaled and shifted by the step (FiLM)."""

    def __init__(self, channels: int, out: int, time_channels: int) -> None:
        super().__init__()
        self.first_norm = _group_norm(channels)
        self.first = nn.Conv2d(channels, out, 3, padding=1)
        self.film = nn.Linear(time_channels, 2 * out)
        self.second_norm = _group_norm(out)
        self.second = nn.Conv2d(out, out, 3, padding=1)
        self.shortcut = nn.Conv2d(channels, out, 1) if channels != out else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Map (B, out, h, w)."""
        y = self.first(F.silu(self.first_norm(x)))
        scale, shift = self.film(time)[:, :, None, None].chunk(2, dim=1)  # (B, out, 1, 1)
        y = self.second(F.silu(self.second_norm(y) * (1 + scale) + shift))
        return self.shortcut(x) + y


class Attention(nn.Module):
    """Self-attention over all positions of (B, C, h, w), with a residual connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.num_heads = channels // math.gcd(channels, HEAD_CHANNELS)
        self.norm = _group_norm(channels)
        self.query_key_value = nn.Conv2d(channels, 3 * channels, 1)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map of the same shape."""
        heads = self.query_key_value(self.norm(x)).flatten(2)  # (B, 3 C, h w)
        heads = heads.unflatten(1, (3, self.num_heads, -1)).transpose(3, 4)  # (B, 3, heads, h w, .)
        query, key, value = heads.unbind(1)
        y = F.scaled_dot_product_attention(query, key, value)
        return x + self.project(y.transpose(2, 3).reshape(x.shape))


def _group_norm(channels: int) -> nn.GroupNorm:
    """Group norm with at least four channels per group, so that a 1 x 1 map can be normalised."""
    return nn.GroupNorm(math.gcd(NUM_GROUPS, channels // 4), channels)
