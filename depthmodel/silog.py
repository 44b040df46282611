"""The scale-invariant log loss of supervised depth."""

from typing import NamedTuple

import torch

VARIANCE_SHARE = 0.85  # of the mean error that is forgiven; 1: scale costs nothing
FACTOR = 10.0
LEAST = 1e-6  # under the root: its gradient stays finite where prediction and truth agree


class Silog(NamedTuple):
    """The loss and what it was taken over."""

    loss: torch.Tensor  # scalar; 0, without gradient, where no image has depth
    num_without: int  # images of the batch without a single valid pixel


def silog(
    depth_m: torch.Tensor, true_m: torch.Tensor, nearest_m: float, farthest_m: float
) -> Silog:
    """10 sqrt(mean(e^2) - 0.85 mean(e)^2), e = ln d - ln d_true, where nearest < d_true < farthest.

    Eigen et al. 2014, eq. 4, with the factors of Lee et al. 2019 (BTS), as AdaBins and PixelFormer
    have it: one mean over all valid pixels of the batch. (B, 1, H, W) twice; truth 0 = none.
    """
    valid = (true_m > nearest_m) & (true_m < farthest_m)
    num_without = int((valid.flatten(1).sum(dim=1) == 0).sum())
    if num_without == len(valid):
        return Silog(depth_m.new_zeros(()), num_without)
    error = depth_m[valid].log() - true_m[valid].log()
    variance = error.square().mean() - VARIANCE_SHARE * error.mean().square()
    return Silog(FACTOR * (variance + LEAST).sqrt(), num_without)
