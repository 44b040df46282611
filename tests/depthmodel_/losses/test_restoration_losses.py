"""Losses of the restoration against numpy, what their gradients reach, and empty masks."""

import numpy as np
import pytest
import torch
from torch import Tensor

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.losses.restoration import (
    deviation_loss,
    residual_loss,
    step_weights,
    steps_silog_loss,
    target_loss,
)
from nightrain.depthmodel.losses.silog import silog_loss

STD = torch.tensor([0.1, 1.0, 10.0])


def chain(num_steps: int = 3, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    values = STD[:, None, None] * torch.randn(num_steps, 2, 3, 4, 5, generator=generator)
    return [value.requires_grad_() for value in values]


def depths(num_steps: int = 3) -> tuple[list[Tensor], Tensor]:
    """Depths of the steps, and the truth with gaps."""
    generator = torch.Generator().manual_seed(1)
    truth = 2 + 20 * torch.rand(2, 1, 4, 5, generator=generator)
    ours = [
        (truth * torch.exp(0.3 * torch.randn(truth.shape, generator=generator))).requires_grad_()
        for _ in range(num_steps)
    ]
    return ours, truth * (torch.rand(truth.shape, generator=generator) < 0.5)


def squares(a: Tensor, b: Tensor) -> np.ndarray:
    """((a - b) / std)^2 in float64."""
    difference = a.detach().double().numpy() - b.detach().double().numpy()
    return (difference / STD.double().numpy()[:, None, None]) ** 2


def test_steps_count_less_the_earlier_they_are() -> None:
    ours, truth = depths()
    loss, per_step, skipped = steps_silog_loss(ours, truth)
    first, second, last = (silog_loss(d, truth).loss.item() for d in ours)
    assert loss.item() == pytest.approx(0.64 * first + 0.8 * second + last)
    assert per_step.tolist() == pytest.approx([first, second, last])
    assert not per_step.requires_grad and skipped == 0
    one = steps_silog_loss(ours[:1], truth, weights=step_weights(1, decay=0.5))
    torch.testing.assert_close(one.loss, silog_loss(ours[0], truth).loss)


def test_every_step_is_trained_at_valid_pixels_alone() -> None:
    ours, truth = depths()
    valid = truth > 5
    steps_silog_loss(ours, truth, valid).loss.backward()
    for depth_m in ours:
        assert depth_m.grad is not None
        assert depth_m.grad[valid].all() and not depth_m.grad[~valid].any()


def test_without_any_depth_the_loss_is_zero_and_finite() -> None:
    ours, truth = depths()
    loss, _, skipped = steps_silog_loss(ours, torch.zeros_like(truth))
    loss.backward()
    assert loss == 0 and skipped == 2
    assert all(d.grad is not None and not d.grad.any() for d in ours)


def test_deviation_is_the_mean_square_to_the_last_estimate() -> None:
    estimates = chain()
    loss = deviation_loss(estimates, STD)
    expected = np.mean([squares(x, estimates[-1]).mean() for x in estimates])
    assert loss.item() == pytest.approx(float(expected), rel=1e-5)
    loss.backward()
    assert all(x.grad is not None and x.grad.all() for x in estimates[:-1])
    assert estimates[-1].grad is None or not estimates[-1].grad.any()


def test_one_step_does_not_deviate() -> None:
    (only,) = chain(1)
    loss = deviation_loss([only], STD)
    loss.backward()
    assert loss == 0 and only.grad is not None and not only.grad.any()


def test_residual_is_the_mean_square_of_what_is_added() -> None:
    estimates, (features,) = chain(), chain(1, seed=7)
    loss = residual_loss(estimates, features, STD)
    expected = np.mean([squares(x, features).mean() for x in estimates])
    assert loss.item() == pytest.approx(float(expected), rel=1e-5)
    loss.backward()
    assert features.grad is None and all(x.grad is not None for x in estimates)


def test_target_is_the_weighted_mean_square() -> None:
    (estimate,), (target,) = chain(1), chain(1, seed=7)
    square = squares(estimate, target)
    assert target_loss(estimate, target, STD).item() == pytest.approx(square.mean(), rel=1e-5)
    weight = torch.rand(2, 1, 4, 5)
    expected = np.average(square, weights=np.broadcast_to(weight.numpy(), square.shape))
    found = target_loss(estimate, target, STD, weight)
    assert found.item() == pytest.approx(float(expected), rel=1e-5)
    per_image = torch.tensor([0.0, 2.0]).view(2, 1, 1, 1)
    found = target_loss(estimate, target, STD, per_image)
    assert found.item() == pytest.approx(square[1].mean(), rel=1e-5)
    found.backward()
    assert target.grad is None and estimate.grad is not None
    assert estimate.grad[1].all() and not estimate.grad[0].any()


def test_unknown_targets_do_no_harm_and_no_target_at_all_is_zero() -> None:
    (estimate,), (target,) = chain(1), chain(1, seed=7)
    mask = torch.zeros(2, 1, 4, 5, dtype=torch.bool)
    mask[0, 0, 1, 2] = True
    unknown = torch.where(mask, target.detach(), torch.nan)
    loss = target_loss(estimate, unknown, STD, mask)
    expected = squares(estimate, target)[0, :, 1, 2].mean()
    assert loss.item() == pytest.approx(float(expected), rel=1e-5)
    none = target_loss(estimate, torch.full_like(target, torch.nan), STD, mask & False)
    assert none == 0
    (loss + none).backward()
    assert estimate.grad is not None and estimate.grad.isfinite().all()
    assert estimate.grad.any(1, keepdim=True).equal(mask)


def test_mistakes_are_refused_and_not_broadcast() -> None:
    (estimate,) = chain(1)
    ours, truth = depths(1)
    for nothing in (
        lambda: steps_silog_loss([], truth),
        lambda: deviation_loss([], STD),
        lambda: residual_loss([], estimate, STD),
    ):
        with pytest.raises(InvalidRequest, match="no step"):
            nothing()
    with pytest.raises(ValueError, match="one shape"):
        target_loss(estimate, estimate[:1], STD)
    with pytest.raises(ValueError, match="one shape"):
        residual_loss([estimate], estimate[:1], STD)
    with pytest.raises(ValueError, match="one shape"):
        steps_silog_loss(ours, truth[:1])
