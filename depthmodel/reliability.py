"""Where a teacher is to be believed: SSD's mask, in its two readings."""

from typing import Literal

import torch

MaskMode = Literal["reliable", "printed", "none"]


@torch.no_grad()
def reliability_mask(
    error_teacher: torch.Tensor, error_student: torch.Tensor, mode: MaskMode
) -> torch.Tensor:
    """Mask (B, 1, H, W) bool of pixels in which the student follows the teacher.

    Both errors are photometric, of the clear neighbours seen through the teacher's and through the
    student's depth (Mao et al., SSD, 2024, eq. 4 and 5). The paper prints M = [error_T > error_S]
    ("printed"), which keeps what the teacher gets wrong; its prose asks for the opposite: leave out
    where the teacher is the worse of the two ("reliable", error_T <= error_S). Where nothing is
    seen both errors are infinite: "reliable" keeps the pixel, as there is nothing against it.
    """
    if mode == "none":
        return torch.ones_like(error_teacher, dtype=torch.bool)
    worse = error_teacher > error_student
    return worse if mode == "printed" else ~worse
