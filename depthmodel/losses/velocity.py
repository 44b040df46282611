"""The length of the predicted way is that of the measured one: this gives depth its metres.

    L = mean | ||t_predicted|| - ||t_true|| |

Guizilini et al. 2020 ("3D packing", velocity supervision). It is weak: only the length is asked
for, not the pose.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from nightrain.depthmodel.losses.base import same_shape


def velocity_loss(
    predicted: Sequence[Tensor], true: Sequence[Tensor], present: Sequence[Tensor] | None = None
) -> Tensor:
    """Mean difference in metres of the lengths of translations in poses (B, 4, 4); a scalar.

    One pose per source, and for each a (B,) bool whether the sample has it; 0 where none has.
    Source: Guizilini et al. 2020. Raises ValueError where the shapes differ.
    """
    off_m, has = [], []
    for index, (ours, theirs) in enumerate(zip(predicted, true, strict=True)):
        same_shape(predicted=ours, true=theirs)
        off_m.append((_way_m(ours) - _way_m(theirs)).abs())  # (B,)
        has.append(torch.ones_like(off_m[-1]) if present is None else present[index])
    here = torch.stack(has).bool()  # (S, B)
    return torch.where(here, torch.stack(off_m), 0.0).sum() / here.sum().clamp(min=1)


def _way_m(pose: Tensor) -> Tensor:
    return torch.linalg.vector_norm(pose[:, :3, 3].float(), dim=1)
