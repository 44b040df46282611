"""A loss with its parts, as a log wants them, and the sums that make one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nightrain.datasets.errors import NightrainError

Side = Literal["previous", "next"]
Batch = Mapping[str, Tensor]
Poses = Mapping[Side, Tensor]  # T_source_target (B, 4, 4), metres, as the pose network has them
SIZED = ("target", "label_depth_m", "lidar_depth_m", "exact_depth_m")  # all of one size


class NonFiniteLoss(NightrainError):
    """A part of a loss, or the depth it is of, is NaN or infinite; no step must be taken."""


@dataclass(frozen=True, slots=True)
class Loss:
    """The sum to minimise and what it is made of."""

    total: Tensor  # ()
    parts: dict[str, Tensor]  # () each, before weighting, without gradient
    statistics: dict[str, Tensor]  # () each: shares of pixels, images that were skipped
    finite: Tensor  # (B,) bool: the sample's inverse depth and poses are numbers

    def values(self, sample_ids: Sequence[str]) -> dict[str, float]:
        """Total, parts and statistics as floats, for a log; call it before the step is taken.

        Waits for the device once. Raises NonFiniteLoss with the parts and the samples at fault.
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
        whose = f"the network's output is not finite for {', '.join(ids)}"
        if not ids:
            whose = f"the network's output is finite; samples: {', '.join(sample_ids)}"
        return (
            f"{what}; {whose}. A finite loss was expected: look at these samples, or go back to "
            "the last checkpoint with a lower learning rate or without bf16"
        )


@dataclass(slots=True)
class LossSums:
    """Parts as they come, each with its weight."""

    finite: Tensor
    weighted: list[Tensor] = field(default_factory=list)
    parts: dict[str, Tensor] = field(default_factory=dict)
    statistics: dict[str, Tensor] = field(default_factory=dict)

    def add(self, name: str, weight: float, loss: Tensor) -> None:
        """Take in a part () with its weight."""
        self.weighted.append(weight * loss)
        self.parts[name] = loss.detach()

    def loss(self) -> Loss:
        """The sum of all parts; raises ValueError where there is none."""
        if not self.weighted:
            raise ValueError("every weight is 0; give at least one part a weight")
        return Loss(torch.stack(self.weighted).sum(), self.parts, self.statistics, self.finite)


def at_loss_size(inverse_depth: Tensor, batch: Batch) -> Tensor:
    """Inverse depth (B, 1, h, w) float32 at the size of the batch's images or depth maps.

    Bilinear, corners of pixels aligned: pixel centres move as `scaled_intrinsics` has them.
    """
    inverse_depth = inverse_depth.float()
    maps = [batch[key] for key in SIZED if key in batch]
    if not maps or maps[0].shape[-2:] == inverse_depth.shape[-2:]:
        return inverse_depth
    size = maps[0].shape[-2:]
    return F.interpolate(inverse_depth, size=size, mode="bilinear", align_corners=False)


def finite_outputs(inverse_depth: Tensor, poses: Mapping[Side, Tensor]) -> Tensor:
    """Whether a sample's inverse depth (B, 1, H, W) and poses are numbers: (B,) bool."""
    outputs = [inverse_depth, *poses.values()]
    return torch.stack([torch.isfinite(o).flatten(1).all(1) for o in outputs]).all(0)  # (B,)


def need(batch: Batch, key: str) -> Tensor:
    """An entry of the batch; raises ValueError, which says what is there."""
    if key not in batch:
        raise ValueError(f"the batch has no {key!r}, only {sorted(batch)}; ask the loader for it")
    return batch[key]
