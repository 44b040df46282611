"""SILog: scale-invariant logarithmic loss against measured depth.

    g = ln D - ln D*,   L = 10 sqrt(mean g^2 - 0.85 mean(g)^2)

md4all, eq. 11 (docs/papers/md4all.md), after Eigen et al. 2014, eq. 4, and Lee et al. 2019 (BTS).
Means are over the valid pixels of the whole batch, as in BTS, AdaBins and PixelFormer, so an image
with more valid pixels has more weight.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from nightrain.depthmodel.losses.base import LossInputs, LossTerm, TermValue, need, same_shape

SCALE, VARIANCE_FOCUS = 10.0, 0.85
EPS = 1e-8  # below the root: its gradient is finite at perfect depth; adds 0.001 at most


class SiLog(NamedTuple):
    """SILog of a batch, and how many images had no valid pixel."""

    loss: Tensor  # ()
    images_without_depth: Tensor  # () int64


class SiLogTerm(LossTerm):
    """SILog of the predicted depth on the batch's LiDAR depth, up to `max_depth_m`."""

    def __call__(self, inputs: LossInputs) -> TermValue:
        """Value of the term; raises ValueError where the batch has no LiDAR depth."""
        true_m = need(inputs.batch, "lidar_depth_m")[:, None]  # (B, 1, h, w), 0 = no return
        valid = true_m <= inputs.max_depth_m
        silog = silog_loss(inputs.inverse_depth.reciprocal(), true_m, valid)
        return TermValue(silog.loss, {"images_without_depth": silog.images_without_depth})


def silog_loss(depth_m: Tensor, true_depth_m: Tensor, valid: Tensor | None = None) -> SiLog:
    """SILog of depth (B, 1, H, W) in metres against measured depth; a scalar and a count.

    `valid` (B, 1, H, W) bool, by default where `true_depth_m` > 0 (0 = no return). An image
    without a valid pixel is skipped and counted; a batch without any has loss 0. Source: md4all,
    eq. 11 (docs/papers/md4all.md). Raises ValueError where the shapes differ.
    """
    same_shape(depth_m=depth_m, true_depth_m=true_depth_m)
    measured = true_depth_m > 0
    valid = measured if valid is None else valid & measured
    same_shape(depth_m=depth_m, valid=valid)
    per_image = valid.flatten(1).sum(1)  # (B,)
    count = per_image.sum().clamp(min=1)
    # ln 1 - ln 1 = 0 where there is nothing to compare, and no gradient comes from there
    off = torch.where(valid, depth_m, 1.0).log() - torch.where(valid, true_depth_m, 1.0).log()
    mean, mean_square = off.sum() / count, off.square().sum() / count
    root = (mean_square - VARIANCE_FOCUS * mean.square() + EPS).sqrt()
    loss = torch.where(per_image.any(), SCALE * root, 0.0)
    return SiLog(loss, (per_image == 0).sum())
