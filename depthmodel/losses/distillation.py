"""Distillation loss: relative difference of the student's inverse depth to the teacher's.

    L = sum w |d_S - d_T| / d_S  /  max(sum w, 1)       d: inverse depth, w: mask times confidence

The confidence is that of the labels, times that of gates in the variant's pixels where the training
set has it (`variant_confidence`).

SSD, eq. 6 (docs/papers/ssd.md), in the form of md4all, eq. 10 (docs/papers/md4all.md). With
D = 1 / d the term is |D_S - D_T| / D_T, the absolute relative error with the teacher as truth. It
is not symmetric: a depth that is too near costs at most 1, one that is too far has no limit, and
where teachers disagree the optimum is on the near side of their median.
"""

import torch
from torch import Tensor

from nightrain.depthmodel.losses.base import LossInputs, LossTerm, TermValue, need, same_shape


class DistillationTerm(LossTerm):
    """Distillation from the batch's labels, under the inputs' mask and the labels' confidence."""

    def __call__(self, inputs: LossInputs) -> TermValue:
        """Value of the term; raises ValueError where the batch has no labels."""
        label_m = need(inputs.batch, "label_depth_m")[:, None]  # (B, 1, h, w), 0 = no label
        weight = (label_m > 0).float()
        statistics = {"images_without_label": (weight.flatten(1).sum(1) == 0).sum()}
        if inputs.mask is not None:
            weight = weight * inputs.mask
        statistics["supervised"] = weight.mean()
        if inputs.use_confidence:
            weight = weight * need(inputs.batch, "label_confidence")[:, None]
        if "variant_confidence" in inputs.batch:
            weight = weight * inputs.batch["variant_confidence"][:, None]
        loss = distillation_loss(inputs.inverse_depth, label_m.reciprocal(), weight)
        return TermValue(loss, statistics)


def distillation_loss(
    student_inverse_depth: Tensor, teacher_inverse_depth: Tensor, weight: Tensor | None = None
) -> Tensor:
    """Weighted mean of |d_S - d_T| / d_S on inverse depth (B, 1, H, W) in 1/m; a scalar.

    `weight` (B, 1, H, W) in [0, 1] is mask times confidence, 1 by default; both maps may hold
    anything where it is 0. No gradient reaches teacher or weight. Source: SSD, eq. 6
    (docs/papers/ssd.md). Raises ValueError where the shapes differ.
    """
    student, teacher = student_inverse_depth, teacher_inverse_depth.detach()
    weight = torch.ones_like(student) if weight is None else weight.detach().to(student.dtype)
    same_shape(student_inverse_depth=student, teacher_inverse_depth=teacher, weight=weight)
    used = weight > 0
    student, teacher = torch.where(used, student, 1.0), torch.where(used, teacher, 1.0)
    relative = (student - teacher).abs() / student
    return (weight * relative).sum() / weight.sum().clamp(min=1)
