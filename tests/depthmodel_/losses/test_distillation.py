"""Distillation: its formula, its asymmetry, and who gets a gradient."""

import numpy as np
import pytest
import torch
from torch import Tensor

from nightrain.depthmodel.losses.distillation import distillation_loss


def maps(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (0.02 + torch.rand(2, 2, 1, 5, 6, generator=generator)).unbind()
    confidence = torch.rand(2, 1, 5, 6, generator=generator)
    mask = torch.rand(2, 1, 5, 6, generator=generator) < 0.6
    return student, teacher, confidence * mask


def test_is_the_weighted_mean_of_the_formula() -> None:
    student, teacher, weight = maps(0)
    s, t, w = (m.double().numpy() for m in (student, teacher, weight))
    assert w.sum() > 1
    expected = (w * np.abs(s - t) / s).sum() / w.sum()
    assert distillation_loss(student, teacher, weight).item() == pytest.approx(expected, rel=1e-5)
    plain = np.mean(np.abs(s - t) / s)
    assert distillation_loss(student, teacher).item() == pytest.approx(plain, rel=1e-5)


def test_is_absrel_of_depth_with_the_teacher_as_truth() -> None:
    student, teacher, _ = maps(1)
    absrel = ((1 / student - 1 / teacher).abs() * teacher).mean()
    torch.testing.assert_close(distillation_loss(student, teacher), absrel)


def test_too_near_costs_one_at_most_and_too_far_without_limit() -> None:
    teacher = torch.full((1, 1, 2, 2), 0.1)
    assert distillation_loss(100 * teacher, teacher).item() == pytest.approx(0.99)
    assert distillation_loss(teacher / 100, teacher).item() == pytest.approx(99, rel=1e-4)


def test_little_weight_gives_a_small_loss_and_not_a_mean() -> None:
    student, teacher = torch.full((1, 1, 2, 2), 0.1), torch.full((1, 1, 2, 2), 0.2)
    weight = torch.zeros(1, 1, 2, 2)
    weight[..., 0, 0] = 0.25
    assert distillation_loss(student, teacher, weight).item() == pytest.approx(0.25)
    assert distillation_loss(student, teacher, 0 * weight) == 0


def test_only_the_student_learns() -> None:
    student, teacher, weight = (m.requires_grad_() for m in maps(2))
    distillation_loss(student, teacher, weight).backward()
    assert teacher.grad is None and weight.grad is None
    assert student.grad is not None and torch.equal(student.grad != 0, weight > 0)


def test_what_has_no_weight_is_not_looked_at() -> None:
    student, teacher, weight = maps(3)
    expected = distillation_loss(student, teacher, weight)
    teacher[weight == 0] = torch.inf  # an inverse depth where there is no label
    student.requires_grad_()
    loss = distillation_loss(student, teacher, weight)
    loss.backward()
    torch.testing.assert_close(loss, expected)
    assert student.grad is not None and torch.isfinite(student.grad).all()


def test_a_student_that_is_no_number_is_seen() -> None:
    student, teacher, weight = maps(4)
    student[weight > 0] = torch.nan
    assert distillation_loss(student, teacher, weight).isnan()


def test_a_weight_without_its_channel_is_refused() -> None:
    student, teacher, weight = maps(5)
    with pytest.raises(ValueError, match=r"weight \(2, 5, 6\)"):
        distillation_loss(student, teacher, weight[:, 0])
