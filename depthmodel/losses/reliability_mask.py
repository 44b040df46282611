"""Where the teacher may be believed: its depth and the student's are tried on the clear frames.

    reliable: M = [pe_T <= pe_S]     printed: M = [pe_T > pe_S]     none: M = 1

SSD (Mao et al. 2024), eq. 5, prints the second and says the first in words: pixels are to be left
out where the teacher is unreliable. With `reliable`, a pixel is supervised only while the student
is the worse one, so a student needs some time with M = 1 before.
"""

from typing import Literal

import torch
from torch import Tensor

from nightrain.depthmodel.losses.base import same_shape

MaskMode = Literal["reliable", "printed", "none"]


def reliability_mask(pe_teacher: Tensor, pe_student: Tensor, mode: MaskMode) -> Tensor:
    """Pixels (B, 1, H, W) bool at which the teacher supervises.

    `pe_teacher`, `pe_student` (B, 1, H, W) are errors of `min_reprojection_error` with either
    depth. Where one of them is not finite, no source sees the pixel, nothing can be compared and
    the pixel is kept. A comparison has no gradient. Source: SSD, eq. 5. Raises ValueError for
    another mode and where the shapes differ.
    """
    same_shape(pe_teacher=pe_teacher, pe_student=pe_student)
    if mode == "none":
        return torch.ones_like(pe_teacher, dtype=torch.bool)
    if mode not in ("reliable", "printed"):
        raise ValueError(f"mask mode is {mode!r}; choose reliable, printed or none")
    unknown = ~(torch.isfinite(pe_teacher) & torch.isfinite(pe_student))
    worse = pe_teacher > pe_student
    return unknown | (worse if mode == "printed" else ~worse)
