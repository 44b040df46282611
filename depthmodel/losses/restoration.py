"""Restoration losses: train a feature restoration without ground-truth features.

    L = sum_t 0.8^(t-1) SILog(D(x^(t)))         sparse depth, at every step
      + a mean_t |x^(t) - sg(x^(1))|^2 / C      deviation: keeps the steps' estimates together
      + b |x^(t) - z|^2 / C                     z: a known target, or depth mapped back through an
                                                invertible decoder
      + c mean_t |x^(t) - F|^2 / C              residual: keeps the restoration small
      + d mean_t |x^(t) - E(clear)|^2 / C       clear: the same frozen encoder's features of the
                                                clear frame, for a variant or a recorded twin

x^(t): estimates in the order of the chain, T .. 1; |.|^2 / C is a mean over channels and positions
of differences divided by the features' standard deviation. IID-RDepth, eqs. 12, 24 and 25
(docs/papers/iid_rdepth.md), reconstructed: the paper's losses are not public.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.losses.base import (
    LOSSES,
    LossInputs,
    LossTerm,
    TermValue,
    same_shape,
)
from nightrain.depthmodel.losses.silog import silog_loss

STEP_DECAY = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorerLoss:
    """Weights of the restorer's loss terms; a term with weight 0 is not computed.

    IID-RDepth, eq. 25 (docs/papers/iid_rdepth.md); the weights are ours. `extra` adds terms of
    `LOSSES` or of your own ("package.module:Class") with their weights.
    """

    silog: float = 1.0
    step_decay: float = STEP_DECAY  # of a step's weight, for each step before the last
    deviation: float = 0.1  # of the steps' estimates from the last one
    projected: float = 0.0  # towards depth mapped back through a strict decoder
    residual: float = 1e-3  # size of the restoration
    min_depth_m: float = 0.0  # measured depth up to it is left out; PixelFormer on KITTI: 1
    clear: float = 0.0  # of each step's estimate from the clear frame's features
    max_depth_m: float = 80.0
    extra: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.extra:
            LOSSES.check(name)


class FeatureTerm(LossTerm):
    """Error of a restoration with a known target, which the role has computed."""

    def __call__(self, inputs: LossInputs) -> TermValue:
        """Value of the term; raises ValueError for a network without restoration."""
        if inputs.feature_error is None:
            raise ValueError("the feature loss needs feature_error, of a network that restores")
        return TermValue(inputs.feature_error)


class StepsSiLog(NamedTuple):
    """Weighted SILog over steps, its terms, and how many images had no depth."""

    loss: Tensor  # ()
    per_step: Tensor  # (T,) unweighted and without gradient, in the order of the chain
    images_without_depth: Tensor  # () int64


def steps_silog_loss(
    depths_m: Sequence[Tensor],
    true_depth_m: Tensor,
    valid: Tensor | None = None,
    weights: Sequence[float] | None = None,
) -> StepsSiLog:
    """Weighted sum of SILog over depths (B, 1, H, W) in metres, one per step, the last at the end.

    `weights` default to `step_weights`. `valid` is as in `silog_loss`; 0 where no pixel is valid.
    Source: IID-RDepth, eq. 24 (docs/papers/iid_rdepth.md). Raises InvalidRequest without a step,
    ValueError where the shapes differ.
    """
    _some(depths_m)
    weights = step_weights(len(depths_m)) if weights is None else weights
    parts = [silog_loss(depth_m, true_depth_m, valid) for depth_m in depths_m]
    losses = torch.stack([part.loss for part in parts])  # (T,)
    total = (losses.new_tensor(weights) * losses).sum()
    return StepsSiLog(total, losses.detach(), parts[-1].images_without_depth)


def step_weights(num_steps: int, decay: float = STEP_DECAY) -> list[float]:
    """Weights decay^(t-1) of the steps T .. 1; the last step has weight 1."""
    return [decay**t for t in reversed(range(num_steps))]


def deviation_loss(estimates: Sequence[Tensor], std: Tensor) -> Tensor:
    """Deviation loss: mean squared distance of a chain's estimates (B, C, h, w) to the last one.

    `std` (C,) are the features' standard deviations. No gradient reaches the last estimate, so a
    chain of one step has loss 0. Source: IID-RDepth, eq. 25 (docs/papers/iid_rdepth.md). Raises
    InvalidRequest without an estimate.
    """
    _some(estimates)
    return _mean_square(estimates, estimates[-1].detach(), std)


def target_loss(
    estimate: Tensor, target: Tensor, std: Tensor, weight: Tensor | None = None
) -> Tensor:
    """Weighted mean square of estimate - target (B, C, h, w) in units of `std` (C,).

    `weight` >= 0 broadcasts to (B, 1, h, w): a confidence or a mask; all 0 gives 0. The target, of
    a clear frame or of `inverse_projected_target`, may hold anything where the weight is 0, and
    gets no gradient. Source: IID-RDepth, eq. 12 (docs/papers/iid_rdepth.md). Raises ValueError
    where the shapes differ.
    """
    same_shape(estimate=estimate, target=target)
    if weight is None:
        weight = estimate.new_ones(())
    weight = weight.to(estimate).expand(len(estimate), 1, *estimate.shape[2:])  # (B, 1, h, w)
    known = torch.where(weight > 0, target.detach(), estimate.detach())
    square = ((estimate - known) / std[:, None, None]).square().mean(1, keepdim=True)
    total = weight.sum()
    return (weight * square).sum() / torch.where(total > 0, total, 1.0)


def residual_loss(estimates: Sequence[Tensor], features: Tensor, std: Tensor) -> Tensor:
    """Residual loss: mean square of what the steps add to F (B, C, h, w), in units of `std` (C,).

    No gradient reaches F through it. Source: IID-RDepth, eq. 25 (docs/papers/iid_rdepth.md).
    Raises InvalidRequest without an estimate.
    """
    _some(estimates)
    return _mean_square(estimates, features.detach(), std)


def _mean_square(estimates: Sequence[Tensor], reference: Tensor, std: Tensor) -> Tensor:
    for estimate in estimates:
        same_shape(estimate=estimate, reference=reference)
    scale = std[:, None, None]
    return torch.stack([((x - reference) / scale).square().mean() for x in estimates]).mean()


def _some(steps: Sequence[Tensor]) -> None:
    if not steps:
        raise InvalidRequest("found no steps, expected those of a chain, from T to 1")
