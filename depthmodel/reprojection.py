"""A neighbouring frame seen from the target camera, and the loss that follows from it."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn import functional as F

from depthmodel.photometric import photometric_error

NEAREST_M = 0.05  # what comes nearer to the source camera is not seen by it


class Warped(NamedTuple):
    """A source picture as the target camera would see it."""

    image: torch.Tensor  # (B, 3, H, W)
    valid: torch.Tensor  # (B, 1, H, W) bool: in front of the source camera and inside its picture


class Source(NamedTuple):
    """A neighbouring frame for the loss."""

    image: torch.Tensor  # (B, 3, H, W)
    warped: Warped
    present: torch.Tensor  # (B,) bool: samples that have this neighbour


class Reprojection(NamedTuple):
    """What the neighbours say of a depth."""

    loss: torch.Tensor  # scalar
    error: torch.Tensor  # (B, 1, H, W), the least over the sources; inf where none sees the pixel
    explained: torch.Tensor  # (B, 1, H, W) bool: the depth explains it better than not moving does


def warp(
    source: torch.Tensor,
    depth_m: torch.Tensor,
    T_source_target: torch.Tensor,
    K_target: torch.Tensor,
    K_source: torch.Tensor,
) -> Warped:
    """Sample `source` (B, 3, H, W) where the target's pixels with depth (B, 1, H, W) fall in it.

    x_source = K_s (R d K_t^-1 x + t), Zhou et al. 2017, eq. 2; T (B, 4, 4) in metres, K (B, 3, 3)
    in pixels whose centres lie at integers. Bilinear. Gradients are finite everywhere; behind the
    camera the sample is meaningless and not valid.
    """
    height, width = depth_m.shape[-2:]
    rotation, translation = T_source_target[:, :3, :3], T_source_target[:, :3, 3:]
    turn = K_source @ rotation @ torch.linalg.inv(K_target)  # (B, 3, 3)
    rays = turn @ _pixels(height, width, depth_m)  # (B, 3, H W)
    x = rays * depth_m.flatten(2) + K_source @ translation
    depth_there = x[:, 2:]
    uv = x[:, :2] / depth_there.clamp_min(NEAREST_M)  # (B, 2, H W)
    span = uv.new_tensor([width - 1, height - 1]).view(1, 2, 1)
    grid = (2 * uv / span - 1).transpose(1, 2).unflatten(1, (height, width))  # (B, H, W, 2)
    inside = ((uv >= 0) & (uv <= span)).all(dim=1, keepdim=True) & (depth_there > NEAREST_M)
    image = F.grid_sample(source, grid, padding_mode="border", align_corners=True)
    return Warped(image, inside.unflatten(2, (height, width)))


def min_reprojection(
    target: torch.Tensor, sources: Sequence[Source], *, automask: bool = True
) -> Reprojection:
    """Photometric error of the source that fits best, per pixel, as a mean over the pixels seen.

    With `automask` a pixel that fits better unmoved (it moves along with the camera, or nothing
    moves) counts with that error, which no depth can change (Godard et al. 2019, section 3.2: the
    minimum over warped and unmoved sources). Pixels that no present source sees are left out.
    """
    infinite = target.new_full((), torch.inf)
    moved, unmoved = [], []
    for source in sources:
        there = source.present.view(-1, 1, 1, 1)
        seen = source.warped.valid & there
        moved.append(torch.where(seen, photometric_error(target, source.warped.image), infinite))
        if automask:
            still = photometric_error(target, source.image)
            unmoved.append(torch.where(there, still, infinite))
    error = torch.stack(moved).amin(dim=0)  # (B, 1, H, W)
    seen = error < torch.inf
    still = torch.stack(unmoved).amin(dim=0) if automask else torch.full_like(error, torch.inf)
    explained = seen & (error < still)
    least = torch.where(explained, error, still)
    total = torch.where(seen, least, 0.0).sum()
    return Reprojection(total / seen.sum().clamp_min(1), error, explained)


def _pixels(height: int, width: int, like: torch.Tensor) -> torch.Tensor:
    """Homogeneous pixel centres (3, H W), row by row."""
    options = {"dtype": like.dtype, "device": like.device}
    v, u = torch.meshgrid(
        torch.arange(height, **options), torch.arange(width, **options), indexing="ij"
    )
    return torch.stack((u, v, torch.ones_like(u))).flatten(1)
