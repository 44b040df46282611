"""Reliability mask: pixels where the teacher's photometric error is not larger than the student's.

    reliable: M = [pe_T <= pe_S]     printed: M = [pe_T > pe_S]     none: M = 1

SSD, eq. 5 (docs/papers/ssd.md). The paper prints the second form and describes the first: pixels
with an unreliable teacher are left out. With "reliable", a pixel is supervised only while the
student is worse, so training starts with some epochs of M = 1.
"""

from typing import Literal

import torch
from torch import Tensor

from nightrain.depthmodel.losses.base import same_shape

MaskMode = Literal["reliable", "printed", "none"]


def reliability_mask(pe_teacher: Tensor, pe_student: Tensor, mode: MaskMode) -> Tensor:
    """Reliability mask (B, 1, H, W) bool: pixels where the teacher supervises the student.

    `pe_teacher`, `pe_student` (B, 1, H, W) are errors of `min_reprojection_error` with either
    depth. Where one of them is not finite, no source sees the pixel: it cannot be compared and is
    kept. There is no gradient. Source: SSD, eq. 5 (docs/papers/ssd.md). Raises ValueError for an
    unknown mode and where the shapes differ.
    """
    same_shape(pe_teacher=pe_teacher, pe_student=pe_student)
    if mode == "none":
        return torch.ones_like(pe_teacher, dtype=torch.bool)
    if mode not in ("reliable", "printed"):
        raise ValueError(f"mask mode is {mode!r}; choose reliable, printed or none")
    unknown = ~(torch.isfinite(pe_teacher) & torch.isfinite(pe_student))
    worse = pe_teacher > pe_student
    return unknown | (worse if mode == "printed" else ~worse)
