"""Weights of the losses, and the sum of the parts with their names."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field

from datasets.errors import NonFiniteLoss


class _Weights(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TeacherLoss(_Weights):
    """Weights of a teacher's losses, md4all's (Gasperini et al. 2023); 0 leaves a part out."""

    photometric: float = Field(default=1.0, ge=0)
    smoothness: float = Field(default=1e-3, ge=0)
    velocity: float = Field(default=0.02, ge=0)
    silog: float = Field(default=1.0, ge=0)  # of a teacher that learns from LiDAR


class StudentLoss(_Weights):
    """Weights of a student's losses; SSD gives no number for the semantic one."""

    distillation: float = Field(default=1.0, ge=0)
    semantic: float = Field(default=0.1, ge=0)
    silog: float = Field(default=0.0, ge=0)  # on the LiDAR of the clear frame


class Losses(NamedTuple):
    """What a batch costs."""

    total: torch.Tensor  # scalar, with gradient
    parts: dict[str, torch.Tensor]  # scalars, unweighted
    counts: dict[str, float]  # images without depth, share of pixels kept by a mask

    def numbers(self) -> dict[str, float]:
        """Everything as plain numbers, for a log."""
        parts = {name: float(part.detach()) for name, part in self.parts.items()}
        return {"loss": float(self.total.detach()), **parts, **self.counts}

    def require_finite(self, names: Sequence[str]) -> None:
        """Raise NonFiniteLoss, which names the parts and the samples."""
        numbers = self.numbers()
        bad = [name for name, value in numbers.items() if not math.isfinite(value)]
        if bad:
            raise NonFiniteLoss(
                f"{', '.join(bad)} of the batch {', '.join(names)} "
                f"{'is' if len(bad) == 1 else 'are'} not finite "
                f"({', '.join(f'{k} {v:.3g}' for k, v in numbers.items())}). The last checkpoint "
                "is whole: go on from it with a lower learning rate, or in float32; and look at "
                "these samples."
            )


def weighted(
    parts: Mapping[str, torch.Tensor], weights: BaseModel, counts: Mapping[str, float]
) -> Losses:
    """Sum of the parts, each with the weight of its name."""
    total = torch.stack([getattr(weights, name) * part for name, part in parts.items()]).sum()
    return Losses(total, dict(parts), dict(counts))
