"""Decoder interface: encoder feature maps in, inverse depth out.

A decoder also defines the features that restoration restores: by default the two coarser maps
packed into one tensor (feature_pack.py), which is unpacked again before decoding.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.decoder_config import DECODERS, CustomDecoderConfig, DecoderConfig
from nightrain.depthmodel.decoders.feature_pack import FeaturePack

Maps = tuple[Tensor, ...]  # of an encoder, (B, C_i, h_i, w_i), fine to coarse


class EncoderShape(NamedTuple):
    """Shape of an encoder's output: channels of its four maps, and the patch of a ViT.

    `patch` in pixels means that all maps share one grid; None is a pyramid at 1/4 to 1/32.
    """

    channels: tuple[int, ...]
    patch: int | None = None

    @property
    def low(self) -> tuple[int, int]:
        """Channels of the two finer maps."""
        return self.channels[0], self.channels[1]


class DepthRange(NamedTuple):
    """Depths in metres: nearest, farthest, and what an untrained network predicts."""

    min_m: float
    max_m: float
    initial_m: float


class Decoder(nn.Module, ABC):
    """Depth decoder: four encoder maps, fine to coarse, to inverse depth in 1/m.

    A subclass is constructed as `Subclass(encoder, depths, **options)` with the `options` of its
    configuration, and starts by predicting about `depths.initial_m` everywhere. Only `forward` is
    required. `inverts_depth` says whether `packed_target` is implemented.
    """

    inverts_depth: ClassVar[bool] = False

    def __init__(self, encoder: EncoderShape, depths: DepthRange) -> None:
        super().__init__()
        self.encoder_shape, self.depths = encoder, depths
        self.pack: FeaturePack | None = None  # has no tensors; created on first use

    @abstractmethod
    def forward(self, maps: Maps, size: tuple[int, int]) -> Tensor:
        """Inverse depth (B, 1, h, w) in 1/m of the maps of an image of `size` (height, width).

        Any h and w: the network resizes the result to `size`. `maps` are the encoder's, or those
        of `unpacked`.
        """

    @property
    def packed_channels(self) -> int:
        """Channels C of `packed`; raises InvalidRequest for an encoder that cannot be packed."""
        return self._pack().channels

    def packed(self, maps: Maps, size: tuple[int, int]) -> Tensor:
        """Features (B, C, h, w) that restoration restores, of an image of `size` (height, width).

        Raises InvalidRequest for an encoder that cannot be packed.
        """
        return self._pack()(maps[2], maps[3])

    def unpacked(self, packed: Tensor, maps: Maps) -> Maps:
        """Maps for `forward` in which `packed` replaces the coarser part of `maps`."""
        return maps[0], maps[1], *self._pack().unpack(packed, (maps[2], maps[3]))

    def packed_target(self, maps: Maps, depth_m: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Packed features (B, C, h, w) that decode to the measured depth, with their weight.

        `maps` are those of `unpacked`; `depth_m` in metres and `mask` bool are (B, 1, H, W); the
        weight (B, 1, h, w) is 1 where the mask holds a pixel of the cell. Raises InvalidRequest
        unless `inverts_depth`.
        """
        raise InvalidRequest(
            f"{type(self).__name__} cannot map depth back to features: use the strict decoder, or "
            "set loss.projected to 0."
        )

    def lipschitz_bounds(self) -> tuple[float, float] | None:
        """(m, L) with m |z - z'| <= |u - u'| <= L |z - z'|, z packed, u log depth; None: unknown.

        They hold for all z and any weights.
        """
        return None

    def check_size(self, size: tuple[int, int]) -> None:
        """Raise InvalidRequest for a (height, width) in pixels that cannot be decoded."""

    @classmethod
    def provenance(cls, config: Any) -> dict[str, str]:
        """Rows of the model card: each part, and where it comes from."""
        return {"decoder": f"custom: {cls.__module__}.{cls.__qualname__}"}

    def _pack(self) -> FeaturePack:
        if self.pack is None:
            channels, patch = self.encoder_shape
            self.pack = FeaturePack((channels[2], channels[3]), one_grid=patch is not None)
        return self.pack


def make_decoder(config: DecoderConfig, encoder: EncoderShape, depths: DepthRange) -> Decoder:
    """Construct the decoder of a configuration; raises InvalidRequest."""
    found = DECODERS.load(config.kind)
    if isinstance(config, CustomDecoderConfig):
        return found(encoder, depths, **config.options)
    return found(encoder, depths, config)


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (B, C, h, w) bilinearly to (height, width); pixels are areas, centres at + 1/2."""
    if (x.shape[2], x.shape[3]) == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
