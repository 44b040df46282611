"""Weighted sum of loss terms: the total to minimise, with its terms for the log."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite

import torch
import torch.nn.functional as F
from torch import Tensor

from nightrain.datasets.errors import NightrainError
from nightrain.depthmodel.losses.base import LOSSES, Batch, LossInputs, LossTerm, Side

SIZED = ("target", "label_depth_m", "lidar_depth_m", "exact_depth_m")  # all of one size

_TERMS: dict[str, LossTerm] = {}  # by name


class NonFiniteLoss(NightrainError):
    """A loss term, or the depth it is computed from, is NaN or infinite; no step must be taken."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Total to minimise, its terms and their statistics."""

    total: Tensor  # ()
    parts: dict[str, Tensor]  # () each, before weighting, without gradient
    statistics: dict[str, Tensor]  # () each: shares of pixels, images that were skipped
    finite: Tensor  # (B,) bool: the sample's inverse depth and poses are finite

    def values(self, sample_ids: Sequence[str]) -> dict[str, float]:
        """Total, terms and statistics as floats, for the log; call it before the step is taken.

        Waits for the device once. Raises NonFiniteLoss with the terms and the samples at fault.
        """
        named = {"loss": self.total.detach(), **self.parts, **self.statistics}
        numbers = torch.stack([*(n.float() for n in named.values()), self.finite.all().float()])
        *values, finite = numbers.tolist()
        bad = [name for name, value in zip(named, values, strict=True) if not isfinite(value)]
        if bad or not finite:
            raise NonFiniteLoss(self._complaint(bad, sample_ids))
        return dict(zip(named, values, strict=True))

    def _complaint(self, bad: Sequence[str], sample_ids: Sequence[str]) -> str:
        finite = self.finite.tolist()
        ids = [i for i, ok in zip(sample_ids, finite, strict=True) if not ok]
        what = f"{', '.join(bad) or 'inverse depth or a pose'} is not finite"
        cause = f"the network's output is not finite for {', '.join(ids)}"
        if not ids:
            cause = f"the network's output is finite; samples: {', '.join(sample_ids)}"
        return (
            f"{what}; {cause}. A finite loss was expected: inspect these samples, or resume from "
            "the last checkpoint with a lower learning rate or without bf16"
        )


@dataclass(slots=True)
class LossSums:
    """Collects loss terms with their weights."""

    finite: Tensor
    weighted: list[Tensor] = field(default_factory=list)
    parts: dict[str, Tensor] = field(default_factory=dict)
    statistics: dict[str, Tensor] = field(default_factory=dict)

    def add(self, name: str, weight: float, loss: Tensor) -> None:
        """Add a term () with its weight."""
        self.weighted.append(weight * loss)
        self.parts[name] = loss.detach()

    def add_terms(self, weights: Mapping[str, float], inputs: LossInputs) -> None:
        """Add terms by their names in `LOSSES` or references; those with weight 0 are skipped.

        Raises ValueError where the inputs lack what a term needs.
        """
        for name, weight in weights.items():
            if weight:
                value = _term(name)(inputs)
                self.add(name, weight, value.loss)
                self.statistics.update(value.statistics)

    def loss(self) -> Loss:
        """Sum of all terms; raises ValueError where there is none."""
        if not self.weighted:
            raise ValueError("every weight is 0; give at least one term a weight")
        return Loss(torch.stack(self.weighted).sum(), self.parts, self.statistics, self.finite)


def weighted_sum(weights: Mapping[str, float], inputs: LossInputs) -> Loss:
    """Weighted sum of terms by name; raises ValueError where a term lacks its input."""
    sums = LossSums(finite_outputs(inputs.inverse_depth, inputs.poses))
    sums.add_terms(weights, inputs)
    return sums.loss()


def at_loss_size(inverse_depth: Tensor, batch: Batch) -> Tensor:
    """Resize inverse depth (B, 1, h, w) in 1/m to the batch's images or depth maps, in float32.

    Bilinear, with pixels as areas, as in `scaled_intrinsics`.
    """
    inverse_depth = inverse_depth.float()
    maps = [batch[key] for key in SIZED if key in batch]
    if not maps or maps[0].shape[-2:] == inverse_depth.shape[-2:]:
        return inverse_depth
    size = maps[0].shape[-2:]
    return F.interpolate(inverse_depth, size=size, mode="bilinear", align_corners=False)


def finite_outputs(inverse_depth: Tensor, poses: Mapping[Side, Tensor]) -> Tensor:
    """Samples with finite inverse depth (B, 1, H, W) and poses: (B,) bool."""
    outputs = [inverse_depth, *poses.values()]
    return torch.stack([torch.isfinite(o).flatten(1).all(1) for o in outputs]).all(0)  # (B,)


def _term(name: str) -> LossTerm:
    if name not in _TERMS:  # not functools.cache, which torch.compile warns of
        _TERMS[name] = LOSSES.load(name)()
    return _TERMS[name]
