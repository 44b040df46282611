"""Auxiliary view: low-level features enhanced by a second view of the scene (AV-LFE).

    e0, e1 -> align e0', e1' of the other view -> fuse -> e0, e1 of the same shapes

IID-RDepth, sections 1.1 and 4.4 (docs/papers/iid_rdepth.md).

Shown in the paper's figure: the other image passes only the two lower levels of the same frozen
encoder; "Align", then "Fusion"; moving windows; the identity without another view.

Reconstructed: the three alignments, deformable sampling, window attention, gate and zero gain.

New here: the fusion also receives the matched inverse depth and its validity, because warped
features alone have no scale; one match on the grid of e0 serves both levels; a view with few
matches, such as one of another scene, gets a lower validity; optionally, matching compares the
images' pixels, because strided features hardly resolve a shift of half a cell.

The gain gamma starts at 0, so the initial map is the identity. Matching and geometry use at least
float32, also under autocast.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.auxview.deformable import DeformableSampling
from nightrain.depthmodel.auxview.fusion import GatedFusion, evidence_of
from nightrain.depthmodel.auxview.matching import Descriptor, Match, on_grid
from nightrain.depthmodel.auxview.plane_sweep import PlaneSweep, rays_of
from nightrain.depthmodel.auxview.search import WindowSearch
from nightrain.depthmodel.auxview.stereo import RectifiedMatching, check_rectified
from nightrain.depthmodel.config import AuxViewConfig
from nightrain.depthmodel.decoders.base import resize

HALF_VALIDITY, SLOPE = 0.5, 20.0  # mean validity at which a view counts half, and the slope there
PIXELS_PER_CELL = 4  # of an image that is compared by its pixels
Low = tuple[Tensor, Tensor]  # e0 (B, C0, h0, w0), e1 (B, C1, h1, w1)


class AuxView(NamedTuple):
    """Another view of each sample's scene, as features; absent views may hold anything."""

    features: Low  # e0, e1 of the other image, of the same size, by the same encoder
    present: Tensor  # (B,) bool
    K: Tensor | None = None  # (B, 3, 3) pixels, at the network's input
    K_aux: Tensor | None = None  # (B, 3, 3) pixels, likewise
    T_aux_camera: Tensor | None = None  # (B, 4, 4) metres
    inverse_depth: Tensor | None = None  # (B, 1, H, W) 1/m, monocular; no gradient goes there
    images: tuple[Tensor, Tensor] | None = None  # the image and the other, (B, 3, H, W) in [0, 1]

    def select(self, index: Tensor) -> "AuxView":
        """Select samples by index (n,)."""
        return AuxView(
            features=(self.features[0][index], self.features[1][index]),
            present=self.present[index],
            K=_at(self.K, index),
            K_aux=_at(self.K_aux, index),
            T_aux_camera=_at(self.T_aux_camera, index),
            inverse_depth=_at(self.inverse_depth, index),
            images=self.images and (self.images[0][index], self.images[1][index]),
        )


class ViewDoubt(nn.Module):
    """Lowers the validity (B, 1, h, w) of a view with few valid cells: V sigmoid(k (mean V - b)).

    k and b are learnt. Some cells of another scene match by chance, and a single such match looks
    valid. Source: IID-RDepth, eq. 17 (docs/papers/iid_rdepth.md).
    """

    def __init__(self) -> None:
        super().__init__()
        self.enough = nn.Parameter(torch.tensor(HALF_VALIDITY))
        self.log_slope = nn.Parameter(torch.tensor(math.log(SLOPE)))

    def forward(self, validity: Tensor) -> Tensor:
        """Lowered validity (B, 1, h, w) in [0, 1]."""
        share = validity.mean((1, 2, 3), keepdim=True)
        return validity * torch.sigmoid(self.log_slope.exp() * (share - self.enough))


class AuxViewEnhancer(nn.Module):
    """Enhances e0, e1 of `channels` with an auxiliary view; starts as the identity."""

    def __init__(self, channels: tuple[int, int], config: AuxViewConfig) -> None:
        super().__init__()
        self.config = config
        by_pixels = config.compare == "images"
        self.descriptor = Descriptor(
            3 if by_pixels else channels[0],
            config.descriptor_channels,
            PIXELS_PER_CELL if by_pixels else 1,
        )
        aligners = {"stereo": RectifiedMatching, "pose": PlaneSweep, "search": WindowSearch}
        self.matching = aligners[config.alignment](config)
        self.doubt = ViewDoubt()
        self.sampling = nn.ModuleList(DeformableSampling(c) for c in channels)
        self.fusion = nn.ModuleList(
            GatedFusion(
                c, config.attention_channels, config.attention_heads, config.attention_window
            )
            for c in channels
        )

    def forward(self, low: Low, aux: AuxView | None, image_size: tuple[int, int]) -> Low:
        """Enhance e0, e1 of an image of `image_size` (H, W) in the samples that have a view.

        The others are unchanged, bit for bit. Raises InvalidRequest where the alignment lacks
        cameras or its pair is not rectified, ValueError where the maps of the views differ in
        shape.
        """
        if aux is None or not bool(aux.present.any()):
            return low
        _check_shapes(low, aux)
        if bool(aux.present.all()):
            return self._enhanced(low, aux, image_size)
        index = aux.present.nonzero()[:, 0]
        some, others = (low[0][index], low[1][index]), aux.select(index)
        e0, e1 = self._enhanced(some, others, image_size)
        return low[0].index_copy(0, index, e0), low[1].index_copy(0, index, e1)

    def _enhanced(self, low: Low, aux: AuxView, image_size: tuple[int, int]) -> Low:
        match = self.align(low, aux, image_size)
        return self.fuse(low, aux, match._replace(validity=self.doubt(match.validity)))

    def align(self, low: Low, aux: AuxView, image_size: tuple[int, int]) -> Match:
        """Match the cells of e0 with the other view, which all samples must have.

        The match's inverse depth can be supervised where it is valid. Raises InvalidRequest as
        `forward` does.
        """
        with torch.autocast(low[0].device.type, enabled=False):
            maps = self._compared(low, aux)
            if isinstance(self.matching, WindowSearch):
                target, other = (self.descriptor(x) for x in maps)
                return self.matching(target, other, (low[1].shape[2], low[1].shape[3]))
            K, K_aux, T = _cameras(aux, self.config.alignment, maps[0].dtype)
            if isinstance(self.matching, RectifiedMatching):
                check_rectified(K, K_aux, T)
                return self.matching(self.descriptor, maps, K, T, image_size[1])
            target, other = (self.descriptor(x) for x in maps)
            rays = rays_of(K, K_aux, T, image_size, (target.shape[2], target.shape[3]))
            return self.matching(target, other, rays, aux.inverse_depth)

    def _compared(self, low: Low, aux: AuxView) -> tuple[Tensor, Tensor]:
        """The two maps to describe, in float32 at least."""
        wide = torch.promote_types(low[0].dtype, torch.float32)
        if self.config.compare == "features":
            return low[0].to(wide), aux.features[0].to(wide)
        if aux.images is None:
            raise InvalidRequest(
                "found an auxiliary view without its images, expected both images to compare by "
                'pixels: give them, or set compare "features".'
            )
        height, width = low[0].shape[2:]
        size = (PIXELS_PER_CELL * height, PIXELS_PER_CELL * width)
        return resize(aux.images[0].to(wide), size), resize(aux.images[1].to(wide), size)

    def fuse(self, low: Low, aux: AuxView, match: Match) -> Low:
        """Sample the other view's maps at `match`, which is on the grid of e0, and fuse them."""
        levels = zip(low, aux.features, self.sampling, self.fusion, strict=True)
        out = [
            self._fuse_level(e, other, on_grid(match, (e.shape[2], e.shape[3])), aux, *parts)
            for e, other, *parts in levels
        ]
        return out[0], out[1]

    @staticmethod
    def _fuse_level(
        e: Tensor, other: Tensor, match: Match, aux: AuxView, sampling: nn.Module, fusion: nn.Module
    ) -> Tensor:
        with torch.autocast(e.device.type, enabled=False):
            dtype = match.shift.dtype
            aligned = sampling(e.to(dtype), other.to(dtype), match.shift)
            evidence = evidence_of(match, aux.inverse_depth)
        return fusion(e, aligned, match.validity, evidence)


def _at(x: Tensor | None, index: Tensor) -> Tensor | None:
    return None if x is None else x[index]


def _cameras(aux: AuxView, alignment: str, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """K, K_aux and T_aux_camera, which this alignment needs; raises InvalidRequest."""
    K, K_aux, T = aux.K, aux.K_aux, aux.T_aux_camera
    if K is None or K_aux is None or T is None:
        names = ("K", "K_aux", "T_aux_camera")
        missing = ", ".join(n for n, x in zip(names, (K, K_aux, T), strict=True) if x is None)
        raise InvalidRequest(
            f"found an auxiliary view without {missing}, expected all three for alignment "
            f'"{alignment}": give them, or set alignment "search".'
        )
    return K.to(dtype), K_aux.to(dtype), T.to(dtype)


def _check_shapes(low: Low, aux: AuxView) -> None:
    for e, other in zip(low, aux.features, strict=True):
        if e.shape != other.shape:
            raise ValueError(
                f"features of the auxiliary view are {tuple(other.shape)}, those of the image "
                f"{tuple(e.shape)}: give both images at one size"
            )
