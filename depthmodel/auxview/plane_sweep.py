"""Plane sweep: inverse depth from another camera of known pose.

    s_k(x) = s(x) r^(2 k / (K - 1) - 1),   k = 0 .. K - 1
    x'_k ~ K_aux (R K^-1 x + s_k(x) t),   c(x, k) = <m(x), m'(x'_k)>

IID-RDepth, eq. 19 (docs/papers/iid_rdepth.md), after Collins, CVPR 1996. The surfaces are not
planes but centred on an initial inverse depth s(x), that of the monocular network; without one they
are centred on one depth, with r covering the whole range. Steps are relative to the depth.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nightrain.depthmodel.auxview.matching import (
    BLUR,
    BestCandidate,
    Match,
    cells,
    in_frame,
    local_mean,
    sample,
)
from nightrain.depthmodel.config import AuxViewConfig
from nightrain.depthmodel.decoders.base import resize

NEAREST_M, FARTHEST_M = 1.0, 100.0  # of a sweep without an initial depth
MIN_Z_M = 0.01  # points nearer to the other camera, or behind it, are not seen


class Rays(NamedTuple):
    """Rays of the target's cells in the other map: far + s near, homogeneous, in cells.

    s is inverse depth in 1/m; the third component is positive in front of the camera.
    """

    far: Tensor  # (B, 3, h, w)
    near: Tensor  # (B, 3, 1, 1)

    def at(self, inverse_depth: Tensor) -> tuple[Tensor, Tensor]:
        """Places (B, 2, h, w) at inverse depth (B, 1, h, w) in 1/m, and which are in front."""
        x, y, z = (self.far + inverse_depth * self.near).unbind(1)
        ahead = z > MIN_Z_M * inverse_depth[:, 0]  # z is over the depth in the target
        z = torch.where(ahead, z, 1.0)
        return torch.stack([x / z, y / z], 1), ahead.unsqueeze(1)


class PlaneSweep(nn.Module):
    """Sweeps `num_planes` inverse depths about an initial one, on descriptors (B, C, h, w)."""

    def __init__(self, config: AuxViewConfig) -> None:
        super().__init__()
        self.num_planes = config.num_planes
        self.ratio = config.sweep_ratio
        self.best = BestCandidate(config.descriptor_channels, config.refinement_channels)

    def forward(self, target: Tensor, other: Tensor, rays: Rays, first: Tensor | None) -> Match:
        """Match two maps of unit vectors; `first` (B, 1, H, W) is inverse depth in 1/m."""
        middle, ratio = self._middle(first, target)
        exponents = torch.linspace(-1, 1, self.num_planes, device=target.device)
        cosines = torch.stack(
            [self._compared(target, other, rays, middle * ratio**e) for e in exponents.tolist()], 1
        )  # (B, K, h, w)
        found = self.best(local_mean(cosines, BLUR), target)
        exponent = 2 * found.place / (self.num_planes - 1) - 1
        inverse_depth = middle * torch.exp(math.log(ratio) * exponent)  # (B, 1, h, w)
        place, ahead = rays.at(inverse_depth)
        shift = place - cells(target.shape[2], target.shape[3], place)
        return Match(shift, found.certainty * (ahead & in_frame(shift)), inverse_depth)

    def _middle(self, first: Tensor | None, like: Tensor) -> tuple[Tensor, float]:
        """Inverse depth (B, 1, h, w) of the middle plane, and the ratio of the outermost to it."""
        if first is None:
            middle = like.new_full((like.shape[0], 1, *like.shape[2:]), 1.0)
            ratio = math.sqrt(FARTHEST_M / NEAREST_M)
            return middle / math.sqrt(FARTHEST_M * NEAREST_M), ratio
        middle = resize(first.detach().to(like.dtype), (like.shape[2], like.shape[3]))
        return middle.clamp(1 / FARTHEST_M, 1 / NEAREST_M), self.ratio

    @staticmethod
    def _compared(target: Tensor, other: Tensor, rays: Rays, inverse_depth: Tensor) -> Tensor:
        place, ahead = rays.at(inverse_depth)
        return (target * sample(other, place)).sum(1) * ahead[:, 0]  # (B, h, w)


def rays_of(
    K: Tensor, K_aux: Tensor, T_aux_camera: Tensor, size: tuple[int, int], grid: tuple[int, int]
) -> Rays:
    """Rays of a grid (h, w) of cells over images of `size` (H, W), which both cameras have.

    `K`, `K_aux` (B, 3, 3) in pixels, `T_aux_camera` (B, 4, 4) in metres. Cells are areas of the
    image: pixel = (cell + 1/2) H/h - 1/2.
    """
    K, K_aux = _of_cells(K, size, grid), _of_cells(K_aux, size, grid)
    height, width = grid
    here = cells(height, width, K).flatten(1)  # (2, hw)
    here = torch.cat([here, torch.ones_like(here[:1])])
    infinite = K_aux @ T_aux_camera[:, :3, :3] @ torch.linalg.inv_ex(K).inverse  # (B, 3, 3)
    far = (infinite @ here).unflatten(2, (height, width))  # (B, 3, h, w)
    return Rays(far, (K_aux @ T_aux_camera[:, :3, 3:]).unsqueeze(-1))


def _of_cells(K: Tensor, size: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """Intrinsics (B, 3, 3) in cells; `nightrain.datasets.frame.scaled_intrinsics` for tensors."""
    y, x = grid[0] / size[0], grid[1] / size[1]
    scale = K.new_tensor([[x, 0, x / 2 - 0.5], [0, y, y / 2 - 0.5], [0, 0, 1]])
    return scale @ K
