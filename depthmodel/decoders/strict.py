"""Strict decoder: a bijection between a feature and log depth with known Lipschitz constants.

    z (256 @ 1/16) - couplings - up - 64 @ 1/8 - couplings - up - 16 @ 1/4 - couplings - up -
    4 @ 1/2 - up - v (1 @ 1/1),      u = log depth = log(middle_depth_m) + sigma v

`up` is an isometry (pixel shuffle, or Haar's transform, which has no checkerboard); the couplings
are conditioned on the low-level features (coupling.py). For fixed low-level features z <-> u is one
to one, and with (m, L) of `lipschitz_bounds`

    m |z - z'| <= |u - u'| <= L |z - z'|.

IID-RDepth, eq. 14 (docs/papers/iid_rdepth.md). Only this part has the property, neither the
projection of the encoder's maps to z (`project`) nor a later resizing of u. With a ViT of 14-pixel
patches, z is on the patches and u has 16 x 16 values for each, so it is resized to the image.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.decoder_config import StrictConfig
from nightrain.depthmodel.decoders.base import Decoder, DepthRange, EncoderShape, Maps
from nightrain.depthmodel.decoders.coupling import Coupling
from nightrain.depthmodel.precision import exact_convolutions

CELL = 16  # values of u per cell of z, along each axis
LATENT_CHANNELS = CELL * CELL
COUPLED_CHANNELS = (256, 64, 16)  # at 1/16, 1/8, 1/4
PACKED_CELL = 8  # pixels per cell of a pyramid's packed feature, see feature_pack.py
HADAMARD = ((1, 1, 1, 1), (1, -1, 1, -1), (1, 1, -1, -1), (1, -1, -1, 1))


class LevelCondition(nn.Module):
    """Condition of one level's couplings: (B, channels, *size) of the low-level maps."""

    def __init__(self, low_channels: tuple[int, int], channels: int) -> None:
        super().__init__()
        self.embed = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in low_channels)
        self.mix = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, low: tuple[Tensor, Tensor], size: tuple[int, int]) -> Tensor:
        """Condition at `size` (h, w) of two maps (B, C_i, h_i, w_i)."""
        fine, coarse = (_at(embed(e), size) for embed, e in zip(self.embed, low, strict=True))
        return F.silu(self.mix(F.silu(fine + coarse)))


class StrictDecoder(Decoder):
    """Strict decoder: isometries and couplings between a feature z and log depth.

    A pyramid's packed feature is at 1/8 of the image, a ViT's on its patches. The construction is
    ours, after Glow (Kingma and Dhariwal 2018) and IRN (Xiao et al. 2020).
    """

    inverts_depth = True

    def __init__(self, encoder: EncoderShape, depths: DepthRange, config: StrictConfig) -> None:
        super().__init__(encoder, depths)
        self.config, self.patch = config, encoder.patch
        channels = super().packed_channels
        self.middle = math.log(config.middle_depth_m)
        self.conditions = nn.ModuleList(
            LevelCondition(encoder.low, config.condition_channels) for _ in COUPLED_CHANNELS
        )
        self.levels = nn.ModuleList(
            nn.ModuleList(_coupling(width, config) for _ in range(config.num_half_steps))
            for width in COUPLED_CHANNELS
        )
        packed = channels if self.patch is not None else 4 * channels
        self.projection = nn.Conv2d(packed, LATENT_CHANNELS, 1)
        nn.init.normal_(self.projection.weight, std=0.1 / math.sqrt(packed))
        nn.init.zeros_(self.projection.bias)  # pyright: ignore[reportArgumentType]
        gain = _gain() if config.upsampling == "haar" else torch.ones(LATENT_CHANNELS)
        self.register_buffer("gain", gain[:, None, None], persistent=False)

    def project(self, feature: Tensor, size: tuple[int, int]) -> Tensor:
        """Project the packed feature (B, C, ...) of an image of `size` to z (B, 256, h, w).

        `size` is (height, width) in pixels; with a ViT, z has the grid of the patches. Raises
        InvalidRequest where 16 does not divide the sides of a pyramid's image.
        """
        with exact_convolutions(feature.device.type):
            feature = feature.to(self.projection.weight)
            if self.patch is None:
                feature = F.pixel_unshuffle(_cropped(feature, size), 2)  # (B, 4C, H/16, W/16)
            return self.gain * self.projection(feature)

    @property
    def packed_channels(self) -> int:
        """Channels of z."""
        return LATENT_CHANNELS

    def packed(self, maps: Maps, size: tuple[int, int]) -> Tensor:
        """Initial z (B, 256, h, w) of encoder maps of an image of `size`; raises InvalidRequest."""
        return self.project(super().packed(maps, size), size)

    def unpacked(self, packed: Tensor, maps: Maps) -> Maps:
        """(e0, e1, z)."""
        return maps[0], maps[1], packed

    def forward(self, maps: Maps, size: tuple[int, int]) -> Tensor:
        """Inverse depth (B, 1, h, w) in 1/m, not bounded, of four encoder maps or of (e0, e1, z).

        Raises InvalidRequest where 16 does not divide the sides of a pyramid's image.
        """
        if len(maps) != 3:
            maps = self.unpacked(self.packed(maps, size), maps)
        fine, coarse, z = maps
        return torch.exp(-self.log_depth(z, (fine, coarse)))

    def log_depth(self, z: Tensor, low: tuple[Tensor, Tensor]) -> Tensor:
        """Log depth u (B, 1, 16h, 16w) of z (B, 256, h, w), not bounded; raises InvalidRequest."""
        if z.ndim != 4 or z.shape[1] != LATENT_CHANNELS:
            raise InvalidRequest(
                f"found a feature of shape {tuple(z.shape)}, expected (B, {LATENT_CHANNELS}, h, w):"
                " make it by StrictDecoder.project"
            )
        with exact_convolutions(z.device.type):
            v, low = self._at_weights(z, low)
            for condition, couplings in zip(self.conditions, self.steps(), strict=True):
                c = condition(low, _size(v))
                for coupling in couplings:
                    v = coupling(v, c)
                v = self._up(v)
            return self.middle + self.config.sigma * self._up(v)

    def inverse(self, u: Tensor, low: tuple[Tensor, Tensor]) -> Tensor:
        """Invert `log_depth`: z (B, 256, h, w) of log depth u (B, 1, 16h, 16w), in closed form.

        Raises InvalidRequest where 16 does not divide the sides of u.
        """
        if u.ndim != 4 or u.shape[1] != 1:
            raise InvalidRequest(
                f"found a log depth of shape {tuple(u.shape)}, expected (B, 1, H, W)"
            )
        check_sixteenths(_size(u))
        with exact_convolutions(u.device.type):
            v, low = self._at_weights(u, low)
            v = self._down((v - self.middle) / self.config.sigma)
            for condition, couplings in zip(
                reversed(self.conditions), reversed(self.steps()), strict=True
            ):
                v = self._down(v)
                c = condition(low, _size(v))
                for coupling in reversed(couplings):
                    v = coupling.inverse(v, c)
            return v

    def packed_target(self, maps: Maps, depth_m: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Target z (B, 256, h, w) of measured depth and its weight; maps are (e0, e1, z)."""
        low, z = (maps[0], maps[1]), maps[2]
        with torch.no_grad():
            u = self.log_depth(z, low)
        target = inverse_projected_target(self, u, depth_m, mask, low)
        return target, F.max_pool2d(mask.float(), CELL)

    def check_size(self, size: tuple[int, int]) -> None:
        """Raise InvalidRequest where 16 does not divide the sides of a pyramid's image."""
        if self.patch is None:
            check_sixteenths(size)

    @classmethod
    def provenance(cls, config: StrictConfig) -> dict[str, str]:
        """Rows of the model card."""
        return {
            "decoder": "new: isometries and couplings from a feature to log depth, invertible end "
            "to end with stated constants; IID-RDepth (Bai et al. 2026) requires the property"
        }

    def steps(self) -> list[list[Coupling]]:
        """Couplings of each level, in the order of the forward pass."""
        return [list(level) for level in self.levels]  # pyright: ignore[reportArgumentType]

    def lipschitz_bounds(self) -> tuple[float, float]:
        """(m, L) with m |z - z'| <= |u - u'| <= L |z - z'| for all z, z' and any weights.

        Source: IID-RDepth, eq. 9 (docs/papers/iid_rdepth.md).
        """
        constants = [coupling.constants() for step in self.steps() for coupling in step]
        most = math.prod(forward for forward, _ in constants)
        least = 1 / math.prod(inverse for _, inverse in constants)
        return self.config.sigma * least, self.config.sigma * most

    def _at_weights(
        self, x: Tensor, low: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Cast to the weights' precision; at half precision the inverse would not be exact."""
        like = self.projection.weight
        return x.to(like), (low[0].to(like), low[1].to(like))

    def _up(self, x: Tensor) -> Tensor:
        return haar_synthesis(x) if self.config.upsampling == "haar" else F.pixel_shuffle(x, 2)

    def _down(self, x: Tensor) -> Tensor:
        return haar_analysis(x) if self.config.upsampling == "haar" else F.pixel_unshuffle(x, 2)


@torch.no_grad()
def inverse_projected_target(
    decoder: StrictDecoder,
    u: Tensor,
    depth_m: Tensor,
    mask: Tensor,
    low: tuple[Tensor, Tensor],
) -> Tensor:
    """Inverse-projected target z* (B, 256, h, w): log depth as measured in `mask`, u elsewhere.

    u is the current log depth, `depth_m` in metres and `mask` bool, each (B, 1, 16h, 16w). There is
    no gradient. |z* - z| is at most |log depth_m - u| over the mask, divided by m of
    `lipschitz_bounds`, so it cannot explode. Source: IID-RDepth, eq. 10
    (docs/papers/iid_rdepth.md). Raises InvalidRequest for other shapes or where a masked depth is
    not a positive number.
    """
    if not u.shape == depth_m.shape == mask.shape:
        raise InvalidRequest(
            f"found u, depth_m and mask of shapes {tuple(u.shape)}, {tuple(depth_m.shape)} and "
            f"{tuple(mask.shape)}, expected one shape (B, 1, H, W)"
        )
    usable = (depth_m > 0) & depth_m.isfinite()
    if bool((mask & ~usable).any()):
        raise InvalidRequest(
            f"found {int((mask & ~usable).sum())} masked pixels whose depth is not a positive "
            "number of metres: take them out of the mask"
        )
    log_depth = torch.where(mask, depth_m, 1.0).to(u).log()
    return decoder.inverse(torch.where(mask, log_depth, u), low)


def haar_synthesis(coefficients: Tensor) -> Tensor:
    """Haar synthesis: pixels (B, C, 2h, 2w) of coefficients (B, 4C, h, w), an isometry (Haar 1910).

    A block (p, q / r, s) of pixels and its coefficients (mean, horizontal, vertical, diagonal) are
    each other's image under H / 2, H being the symmetric 4x4 Hadamard matrix, so H / 2 is its own
    inverse. Coefficients are stored by kind: C means first, then C of each detail.
    """
    batch, channels, height, width = coefficients.shape
    kinds = coefficients.view(batch, 4, channels // 4, height, width)
    pixels = torch.einsum("pk,bkchw->bcphw", _hadamard(kinds), kinds)  # (B, C, 4, h, w)
    return F.pixel_shuffle(pixels.reshape(batch, channels, height, width), 2)


def haar_analysis(pixels: Tensor) -> Tensor:
    """Haar analysis: coefficients (B, 4C, h, w) of pixels (B, C, 2h, 2w); inverts the synthesis."""
    batch, channels, height, width = pixels.shape
    blocks = F.pixel_unshuffle(pixels, 2).view(batch, channels, 4, height // 2, width // 2)
    kinds = torch.einsum("kp,bcphw->bkchw", _hadamard(blocks), blocks)  # (B, 4, C, h, w)
    return kinds.reshape(batch, 4 * channels, height // 2, width // 2)


def _hadamard(like: Tensor) -> Tensor:
    return like.new_tensor(HADAMARD) / 2


def check_sixteenths(size: tuple[int, int]) -> None:
    """Raise InvalidRequest where 16 does not divide the (height, width) in pixels."""
    if size[0] % CELL or size[1] % CELL:
        near = [max(1, round(side / CELL)) * CELL for side in size]
        raise InvalidRequest(
            f"found {size[1]} x {size[0]} pixels, expected sides that {CELL} divides, as the "
            f"strict decoder has one value per pixel: the nearest are {near[1]} x {near[0]}"
        )


def _coupling(channels: int, config: StrictConfig) -> Coupling:
    return Coupling(
        channels,
        config.condition_channels,
        config.hidden_channels,
        scale_bound=config.scale_bound,
        lipschitz=config.lipschitz,
    )


def _cropped(feature: Tensor, size: tuple[int, int]) -> Tensor:
    """Part of a pyramid's packed feature that covers the image; the rest is padding."""
    check_sixteenths(size)
    height, width = size[0] // PACKED_CELL, size[1] // PACKED_CELL
    if feature.shape[2] < height or feature.shape[3] < width:
        raise InvalidRequest(
            f"found a packed feature of {feature.shape[3]} x {feature.shape[2]} cells, expected at "
            f"least {width} x {height} for {size[1]} x {size[0]} pixels"
        )
    return feature[:, :, :height, :width]


def _gain() -> Tensor:
    """Scale (256,) of the Haar coefficients of a depth map; coarse ones are larger.

    In base 4, the last digit of a channel's number is the coefficient of the finest blocks (0: the
    mean), the digit before it that of the next larger blocks, and so on. A map of ones has the
    value 2^n in a channel with n trailing means, which is the gain.
    """
    finest = torch.arange(LATENT_CHANNELS)
    gain, means = torch.ones(LATENT_CHANNELS), torch.ones(LATENT_CHANNELS, dtype=torch.bool)
    for _ in range(4):
        means &= finest % 4 == 0
        gain, finest = torch.where(means, 2 * gain, gain), finest // 4
    return gain


def _at(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize bilinearly, with antialiasing."""
    if _size(x) == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=True)


def _size(x: Tensor) -> tuple[int, int]:
    return x.shape[2], x.shape[3]
