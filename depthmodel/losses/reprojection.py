"""Minimum reprojection: warp source images into the target camera by depth and pose, and compare.

    x' ~ K_source (R D(x) K_target^-1 x + t),   I'(x) = I_source(x')
    L = mean mu(x) min_s pe(I, I'_s),   mu = [min_s pe(I, I'_s) < min_s pe(I, I_s)]

md4all, eqs. 2, 5 and 6 (docs/papers/md4all.md), after Zhou et al. 2017, eq. 2, and Godard et al.
2019, section 3. Pixel centres are at integer coordinates. kornia's warp_frame_depth does not report
which points are behind the camera or outside the image and takes four times as long, so the
projection is written out here and compared with kornia's in a test.
"""

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nightrain.depthmodel.losses.base import (
    Batch,
    LossInputs,
    LossTerm,
    Poses,
    TermValue,
    need,
)
from nightrain.depthmodel.losses.photometric import photometric_error

MIN_Z_M = 0.01  # points nearer to the source's camera, or behind it, are not seen


class Warped(NamedTuple):
    """A source image as seen by the target camera."""

    image: Tensor  # (B, 3, H, W)
    valid: Tensor  # (B, 1, H, W) bool: before the source's camera and inside its image


class Reprojection(NamedTuple):
    """Minimum reprojection loss, with its per-pixel error and masks."""

    loss: Tensor  # ()
    error: Tensor  # (B, 1, H, W) the least over the sources; inf where none sees the pixel
    seen: Tensor  # (B, 1, H, W) bool: at least one source sees the pixel
    active: Tensor  # (B, 1, H, W) bool: seen, and better than no motion at all


class PhotometricTerm(LossTerm):
    """Minimum reprojection loss of the batch's target against its neighbours."""

    def __call__(self, inputs: LossInputs) -> TermValue:
        """Value of the term; raises ValueError where the batch lacks a neighbour."""
        batch, sides = inputs.batch, list(inputs.poses)
        found = min_reprojection(
            need(batch, "target"),
            [need(batch, side) for side in sides],
            warp_sides(batch, inputs.inverse_depth, inputs.poses),
            [need(batch, f"has_{side}") for side in sides],
            automask=inputs.automask,
        )
        statistics = {"seen": found.seen.float().mean(), "active": found.active.float().mean()}
        return TermValue(found.loss, statistics)


def warp(
    source: Tensor, depth_m: Tensor, T_source_target: Tensor, K_target: Tensor, K_source: Tensor
) -> Warped:
    """Warp `source` (B, 3, h, w) into the target camera by the target's `depth_m` (B, 1, H, W).

    `T_source_target` (B, 4, 4) takes points in metres from the target's to the source's camera
    (`Neighbour.T_neighbour_camera`); `K_target`, `K_source` (B, 3, 3) in pixels of
    the target at (H, W) and of the source at (h, w). Bilinear, with the border repeated; pixels
    that are not valid have no gradient. Geometry is in float32 at least, under autocast too.
    Source: md4all, eq. 2 (docs/papers/md4all.md).
    """
    size = depth_m.shape[-2:]
    dtype = torch.promote_types(depth_m.dtype, torch.float32)
    with torch.autocast(depth_m.device.type, enabled=False):
        T, K, K_inverse = (
            T_source_target.to(dtype),
            K_source.to(dtype),
            torch.linalg.inv_ex(K_target.to(dtype)).inverse,  # does not wait for the device
        )
        rays = K @ T[:, :3, :3] @ K_inverse @ _pixels(size, depth_m.device, dtype)  # (B, 3, HW)
        points = torch.addcmul(K @ T[:, :3, 3:], rays, depth_m.to(dtype).flatten(2))  # (B, 3, HW)
    height, width = source.shape[-2:]
    u, v, valid = _where_seen(points, height, width)
    grid = torch.stack([u * (2 / (width - 1)) - 1, v * (2 / (height - 1)) - 1], -1)  # (B, HW, 2)
    image = F.grid_sample(
        source.to(dtype),
        grid.unflatten(1, size),  # (B, H, W, 2)
        mode="bilinear",
        padding_mode="border",
        align_corners=True,  # -1 and 1 are the centres of the outermost pixels
    )
    return Warped(image, valid.unflatten(1, size).unsqueeze(1))


def warp_sides(batch: Batch, inverse_depth: Tensor, poses: Poses) -> list[Warped]:
    """Warp the batch's neighbours into its target camera by inverse depth (B, 1, H, W) in 1/m.

    Raises ValueError where the batch lacks an image or its intrinsics.
    """
    depth_m, K = inverse_depth.reciprocal(), need(batch, "intrinsics")
    return [
        warp(need(batch, side), depth_m, pose, K, need(batch, f"{side}_intrinsics"))
        for side, pose in poses.items()
    ]


def _pixels(size: torch.Size, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Homogeneous coordinates (3, HW) of all pixel centres."""
    v, u = torch.meshgrid(
        torch.arange(size[0], device=device, dtype=dtype),
        torch.arange(size[1], device=device, dtype=dtype),
        indexing="ij",
    )
    return torch.stack([u, v, torch.ones_like(u)]).flatten(1)


def _where_seen(points: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pixel coordinates u, v (B, N) of homogeneous points (B, 3, N) and whether they are seen.

    Points that are not seen are divided by 1 and give 0, so that their gradient is 0 as well.
    """
    x, y, z = points.unbind(1)
    ahead = z > MIN_Z_M
    scale = torch.where(ahead, z, 1.0).reciprocal()
    u, v = x * scale, y * scale
    # a pixel reaches half a pixel beyond its centre
    inside = (u >= -0.5) & (u <= width - 0.5) & (v >= -0.5) & (v <= height - 0.5)
    valid = ahead & inside
    return torch.where(valid, u, 0.0), torch.where(valid, v, 0.0), valid


def min_reprojection_error(
    target: Tensor, warped: Sequence[Warped], present: Sequence[Tensor] | None = None
) -> Tensor:
    """Minimum photometric error (B, 1, H, W) over the sources; inf where none sees the pixel.

    `target` (B, 3, H, W) in [0, 1]; `present` has a (B,) bool for each source. Source: md4all,
    eq. 5 (docs/papers/md4all.md). Raises ValueError where there are no sources.
    """
    errors = [photometric_error(target, w.image) for w in warped]
    seen = [_here(w.valid, present, index) for index, w in enumerate(warped)]
    return _least([torch.where(s, e, torch.inf) for e, s in zip(errors, seen, strict=True)])


def min_reprojection(
    target: Tensor,
    sources: Sequence[Tensor],
    warped: Sequence[Warped],
    present: Sequence[Tensor] | None = None,
    *,
    automask: bool = True,
) -> Reprojection:
    """Minimum reprojection loss of `target` (B, 3, H, W) against sources (B, 3, H, W).

    The mean is over the pixels that a source sees; those where an unmoved source is at least as
    good count as 0 (auto-mask: objects that stand still relative to the camera). Ties count as
    unmoved, so no noise is needed to break them. `present` has a (B,) bool for each source; a batch
    that no source sees has loss 0. Source: md4all, eqs. 5 and 6 (docs/papers/md4all.md). Raises
    ValueError where there are no sources.
    """
    error = min_reprojection_error(target, warped, present)
    seen = active = error.detach() != torch.inf  # keeps NaN in the loss
    if automask:
        active = seen & ~(error.detach() >= _unmoved_error(target, sources, present))
    loss = torch.where(active, error, 0.0).sum() / seen.sum().clamp(min=1)
    return Reprojection(loss, error, seen, active)


@torch.no_grad()
def _unmoved_error(
    target: Tensor, sources: Sequence[Tensor], present: Sequence[Tensor] | None
) -> Tensor:
    """Minimum photometric error (B, 1, H, W) of sources that are not warped."""
    errors = [photometric_error(target, source) for source in sources]
    everywhere = torch.ones_like(errors[0], dtype=torch.bool)
    here = [_here(everywhere, present, index) for index in range(len(errors))]
    return _least([torch.where(h, e, torch.inf) for e, h in zip(errors, here, strict=True)])


def _here(valid: Tensor, present: Sequence[Tensor] | None, index: int) -> Tensor:
    """`valid` (B, 1, H, W), and False in samples that do not have this source."""
    return valid if present is None else valid & present[index].view(-1, 1, 1, 1)


def _least(errors: Sequence[Tensor]) -> Tensor:
    if not errors:
        raise ValueError("there are no sources; give at least one, absent ones as present=False")
    return reduce(torch.minimum, errors)
