"""Velocity loss: fixes metric scale by matching predicted and measured translation.

    L = mean_s | ||t_s|| - ||t*_s|| |

md4all, eq. 8 (docs/papers/md4all.md), after Guizilini et al., CVPR 2020 (3D packing). It is weak:
it constrains the length of the translation, not the pose.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from nightrain.depthmodel.losses.base import LossInputs, LossTerm, TermValue, need, same_shape


class VelocityTerm(LossTerm):
    """Velocity loss of the inputs' poses against the recorded ones."""

    def __call__(self, inputs: LossInputs) -> TermValue:
        """Value of the term; raises ValueError where the batch has no recorded poses."""
        true = [need(inputs.batch, f"T_{side}_camera") for side in inputs.poses]
        has = [need(inputs.batch, f"has_{side}") for side in inputs.poses]
        return TermValue(velocity_loss(list(inputs.poses.values()), true, has))


def velocity_loss(
    predicted: Sequence[Tensor], true: Sequence[Tensor], present: Sequence[Tensor] | None = None
) -> Tensor:
    """Mean absolute difference in metres of translation lengths, of poses (B, 4, 4); a scalar.

    One pose per source; `present` has a (B,) bool for each, and samples without the source are left
    out (0 where no sample has any). Source: md4all, eq. 8 (docs/papers/md4all.md). Raises
    ValueError where the shapes differ.
    """
    off_m, has = [], []
    for index, (ours, theirs) in enumerate(zip(predicted, true, strict=True)):
        same_shape(predicted=ours, true=theirs)
        off_m.append((_length_m(ours) - _length_m(theirs)).abs())  # (B,)
        has.append(torch.ones_like(off_m[-1]) if present is None else present[index])
    here = torch.stack(has).bool()  # (S, B)
    return torch.where(here, torch.stack(off_m), 0.0).sum() / here.sum().clamp(min=1)


def _length_m(pose: Tensor) -> Tensor:
    return torch.linalg.vector_norm(pose[:, :3, 3].float(), dim=1)
