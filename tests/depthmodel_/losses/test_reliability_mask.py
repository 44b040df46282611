"""The truth table of the mask in its three readings."""

from typing import get_args

import pytest
import torch

from nightrain.depthmodel.losses.distillation import distillation_loss
from nightrain.depthmodel.losses.reliability_mask import MaskMode, reliability_mask

INF = float("inf")
#        teacher, student: reliable, printed, none
TABLE = [
    (0.1, 0.2, True, False, True),  # the teacher is better
    (0.2, 0.1, False, True, True),  # the student is better
    (0.2, 0.2, True, False, True),  # as good
    (0.0, 0.0, True, False, True),
    (INF, 0.1, True, True, True),  # not seen with the teacher's depth: nothing to compare
    (0.1, INF, True, True, True),
    (INF, INF, True, True, True),
]


@pytest.mark.parametrize(("column", "mode"), list(enumerate(get_args(MaskMode))))
def test_truth_table(column: int, mode: MaskMode) -> None:
    assert get_args(MaskMode) == ("reliable", "printed", "none")
    teacher = torch.tensor([row[0] for row in TABLE]).view(1, 1, 1, -1)
    student = torch.tensor([row[1] for row in TABLE]).view(1, 1, 1, -1)
    mask = reliability_mask(teacher, student, mode)
    assert mask.dtype == torch.bool
    assert mask.flatten().tolist() == [row[2 + column] for row in TABLE]


def test_no_gradient_goes_through_the_mask() -> None:
    student = torch.rand(1, 1, 4, 4).add(0.1).requires_grad_()
    pe_student = (student - 0.5).abs()  # the student's depth decides its error
    mask = reliability_mask(torch.full_like(pe_student, 0.2), pe_student, "reliable")
    assert not mask.requires_grad and 0 < mask.sum() < 16
    through = torch.autograd.grad(distillation_loss(student, 2 * student, mask), student)[0]
    fixed = torch.autograd.grad(distillation_loss(student, 2 * student, mask.clone()), student)[0]
    assert torch.equal(through, fixed) and torch.equal(through != 0, mask)


def test_another_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="reliable, printed or none"):
        reliability_mask(torch.zeros(1), torch.zeros(1), "strict")  # type: ignore[arg-type]
