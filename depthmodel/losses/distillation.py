"""The student's depth is drawn to the teacher's, where and as much as that is to be trusted.

    L = sum w |d_S - d_T| / d_S  /  max(sum w, 1)       d: inverse depth, w: mask times confidence

Gasperini et al. 2023 (md4all), as their public code has it; SSD (Mao et al. 2024), eq. 6, masks it.
The student stands below the line: with D = 1 / d the term is |D_S - D_T| / D_T, AbsRel with the
teacher as truth. So it is not symmetric: a depth too near costs at most 1, one too far without
limit, and where teachers disagree the least cost lies on the near side of their median.
"""

import torch
from torch import Tensor

from nightrain.depthmodel.losses.base import same_shape


def distillation_loss(
    student_inverse_depth: Tensor, teacher_inverse_depth: Tensor, weight: Tensor | None = None
) -> Tensor:
    """Weighted mean of |d_S - d_T| / d_S on inverse depth (B, 1, H, W) in 1/m; a scalar.

    `weight` (B, 1, H, W) in [0, 1] is mask times confidence, 1 by default; where it is 0, neither
    map is looked at. No gradient reaches teacher or weight. Source: md4all; SSD, eq. 6. Raises
    ValueError where the shapes differ.
    """
    student, teacher = student_inverse_depth, teacher_inverse_depth.detach()
    weight = torch.ones_like(student) if weight is None else weight.detach().to(student.dtype)
    same_shape(student_inverse_depth=student, teacher_inverse_depth=teacher, weight=weight)
    used = weight > 0
    student, teacher = torch.where(used, student, 1.0), torch.where(used, teacher, 1.0)
    relative = (student - teacher).abs() / student
    return (weight * relative).sum() / weight.sum().clamp(min=1)
