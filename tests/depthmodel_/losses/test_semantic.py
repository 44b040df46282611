"""Cosine of features: zero for equal ones, and only the student learns."""

import numpy as np
import pytest
import torch

from nightrain.depthmodel.losses.semantic import semantic_loss


def test_is_one_minus_the_mean_cosine() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(2, 8, 3, 4), torch.randn(2, 8, 3, 4)
    p, q = a.double().numpy(), b.double().numpy()
    cosines = [
        p[n, :, i, j]
        @ q[n, :, i, j]
        / np.linalg.norm(p[n, :, i, j])
        / np.linalg.norm(q[n, :, i, j])
        for n, i, j in np.ndindex(2, 3, 4)
    ]
    assert semantic_loss(a, b).item() == pytest.approx(1 - np.mean(cosines), rel=1e-5)


def test_equal_directions_cost_nothing_and_opposite_ones_two() -> None:
    features = torch.randn(1, 16, 5, 5, generator=torch.Generator().manual_seed(1))
    assert semantic_loss(features, features).item() == pytest.approx(0, abs=1e-6)
    assert semantic_loss(3 * features, features).item() == pytest.approx(0, abs=1e-6)
    assert semantic_loss(-features, features).item() == pytest.approx(2, abs=1e-6)


def test_only_the_student_learns_and_zero_features_do_no_harm() -> None:
    student = torch.randn(1, 4, 3, 3, generator=torch.Generator().manual_seed(2))
    student[..., 0, 0] = 0
    student.requires_grad_()
    frozen = torch.randn(1, 4, 3, 3, requires_grad=True)
    semantic_loss(student, frozen).backward()
    assert frozen.grad is None
    assert student.grad is not None and torch.isfinite(student.grad).all()
    assert student.grad[..., 1, 1].any()


def test_half_precision_is_compared_in_single() -> None:
    a, b = torch.randn(1, 768, 6, 6), torch.randn(1, 768, 6, 6)
    half = semantic_loss(a.bfloat16(), b.bfloat16())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, semantic_loss(a, b), atol=2e-3, rtol=0)


def test_encoders_of_other_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 4, 3, 3\).*\(1, 8, 3, 3\)"):
        semantic_loss(torch.zeros(1, 4, 3, 3), torch.zeros(1, 8, 3, 3))
