"""DPT decoder: dense prediction head of Ranftl, Bochkovskiy and Koltun, ICCV 2021, section 3.

Reassemble: the four maps are projected and, where they share one grid (a ViT), resized by 4, 2, 1
and 1/2. Fusion: from coarse to fine, residual convolutional units add the next finer map. With
`lower` "invertible" the two finest fusions are couplings (depthmodel/decoders/invertible.py).
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from nightrain.depthmodel.decoder_config import DptConfig
from nightrain.depthmodel.decoders.base import Decoder, DepthRange, EncoderShape, Maps, resize
from nightrain.depthmodel.decoders.invertible import COUPLINGS, InvertibleStages
from nightrain.depthmodel.precision import at_least_float32, full_precision

DETAIL_PIXELS = {"full": 1, "half": 2, "quarter": 4}


class ResidualUnit(nn.Module):
    """Residual convolutional unit: x + conv(relu(conv(relu(x)))) on (B, C, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map of the same shape."""
        return x + self.second(F.relu(self.first(F.relu(x))))


class Fusion(nn.Module):
    """Fusion block: adds a finer map to the path, refines the sum and resizes it."""

    def __init__(self, channels: int, joins: bool) -> None:
        super().__init__()
        self.joined = ResidualUnit(channels) if joins else None
        self.refine = ResidualUnit(channels)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(
        self, path: torch.Tensor, finer: torch.Tensor | None, size: tuple[int, int]
    ) -> torch.Tensor:
        """Fused path (B, C, *size)."""
        if self.joined is not None and finer is not None:
            path = path + self.joined(finer)
        # A 1x1 convolution and bilinear resizing commute; convolving first is cheaper.
        return resize(self.project(self.refine(path)), size)


class DptDecoder(Decoder):
    """DPT decoder: four encoder maps to s = 1/d_max + (1/d_min - 1/d_max) sigmoid(logit), in 1/m.

    Source of the last step: md4all, eq. 1 (docs/papers/md4all.md).
    """

    def __init__(self, encoder: EncoderShape, depths: DepthRange, config: DptConfig) -> None:
        super().__init__(encoder, depths)
        one_grid = encoder.patch is not None
        self.detail = DETAIL_PIXELS[config.detail]
        width = config.fusion_channels
        self.reassemble = nn.ModuleList(
            _reassemble(c, out, level if one_grid else None)
            for level, (c, out) in enumerate(
                zip(encoder.channels, config.reassemble_channels, strict=True)
            )
        )
        self.adapt = nn.ModuleList(
            nn.Conv2d(c, width, 3, padding=1, bias=False) for c in config.reassemble_channels
        )
        invertible = config.lower == "invertible"
        self.fusion = nn.ModuleList(
            # Numbered from the finest level: the others keep their names without couplings.
            nn.Identity() if invertible and level < 2 else Fusion(width, joins=level < 3)
            for level in range(4)
        )
        self.stages = InvertibleStages((width, width), width) if invertible else None
        self.hidden = nn.Conv2d(width, width // 2, 3, padding=1)
        self.last_hidden = nn.Conv2d(width // 2, config.head_channels, 3, padding=1)
        self.logit = nn.Conv2d(config.head_channels, 1, 1)

        nn.init.normal_(self.logit.weight, std=0.1 / math.sqrt(config.head_channels))
        nn.init.constant_(_bias(self.logit), self._initial_logit())

    def forward(self, maps: Maps, size: tuple[int, int]) -> torch.Tensor:
        """Inverse depth (B, 1, h, w) in 1/m at the configured detail of an image of `size`."""
        farthest, nearest = 1 / self.depths.max_m, 1 / self.depths.min_m
        return farthest + (nearest - farthest) * torch.sigmoid(self.logits(maps, size))

    def logits(self, features: Maps, size: tuple[int, int]) -> torch.Tensor:
        """Logits (B, 1, h, w), at least float32, of maps of an image of `size` (height, width)."""
        maps = [
            adapt(reassemble(feature))
            for feature, reassemble, adapt in zip(
                features, self.reassemble, self.adapt, strict=True
            )
        ]
        path = self.fusion[3](maps[3], None, _size(maps[2]))
        path = self.fusion[2](path, maps[2], _size(maps[1]))
        hidden = self.hidden(self._lower(path, maps[0], maps[1]))
        if self.detail == 1:
            hidden = resize(hidden, size)
        hidden = F.relu(self.last_hidden(hidden))
        # Near its start the logit is about -5, where bfloat16 has steps of 3 % of the depth.
        with full_precision(hidden.device.type):
            return self.logit(at_least_float32(hidden))

    @classmethod
    def provenance(cls, config: DptConfig) -> dict[str, str]:
        """Rows of the model card."""
        rows = {"decoder": "published: DPT (Ranftl et al. 2021)"}
        return rows | (COUPLINGS if config.lower == "invertible" else {})

    def _initial_logit(self) -> float:
        farthest, nearest = 1 / self.depths.max_m, 1 / self.depths.min_m
        share = (1 / self.depths.initial_m - farthest) / (nearest - farthest)
        return math.log(share / (1 - share))

    def _lower(self, path: torch.Tensor, finest: torch.Tensor, finer: torch.Tensor) -> torch.Tensor:
        """Fuse the two finest maps, at the finest map's size or twice that, by the detail."""
        wanted = _size(finest) if self.detail == 4 else _times(_size(finest), 2)
        if self.stages is not None:
            return resize(self.stages.on_any_grid(path, (finest, finer)), wanted)
        path = self.fusion[1](path, finer, _size(finest))
        return self.fusion[0](path, finest, wanted)


def _reassemble(channels: int, out: int, level: int | None) -> nn.Module:
    """Project to `out` channels; on a ViT's grid resize by 4, 2, 1 or 1/2 (levels 0 to 3)."""
    project = nn.Conv2d(channels, out, 1)
    if level is None or level == 2:
        return nn.Sequential(project)
    if level == 3:
        return nn.Sequential(project, nn.Conv2d(out, out, 3, stride=2, padding=1))
    factor = 4 if level == 0 else 2
    return nn.Sequential(project, nn.ConvTranspose2d(out, out, factor, stride=factor))


def _size(x: torch.Tensor) -> tuple[int, int]:
    return x.shape[2], x.shape[3]


def _times(size: tuple[int, int], factor: int) -> tuple[int, int]:
    return size[0] * factor, size[1] * factor


def _bias(layer: nn.Conv2d) -> torch.Tensor:
    assert layer.bias is not None
    return layer.bias
