"""Scale-invariant log loss against numpy, at perfect depth, and without any depth."""

import numpy as np
import pytest
import torch
from torch import Tensor

from nightrain.depthmodel.losses.silog import silog_loss


def depths(seed: int, batch: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    true = 2 + 50 * torch.rand(batch, 1, 5, 7, generator=generator)
    ours = true * torch.exp(0.3 * torch.randn(true.shape, generator=generator))
    true[torch.rand(true.shape, generator=generator) < 0.4] = 0.0  # no return
    return ours, true


def expected(ours: np.ndarray, true: np.ndarray) -> float:
    g = np.log(ours.astype(np.float64)) - np.log(true.astype(np.float64))
    return float(10 * np.sqrt(np.mean(g**2) - 0.85 * np.mean(g) ** 2))


def test_is_the_formula_over_all_valid_pixels_of_the_batch() -> None:
    ours, true = depths(0)
    has = true.numpy() > 0
    loss, skipped = silog_loss(ours, true)
    assert loss.item() == pytest.approx(expected(ours.numpy()[has], true.numpy()[has]), rel=1e-5)
    assert skipped == 0
    near = torch.from_numpy(true.numpy() < 20)
    both = has & near.numpy()
    loss = silog_loss(ours, true, near).loss
    assert loss.item() == pytest.approx(expected(ours.numpy()[both], true.numpy()[both]), rel=1e-5)


def test_a_common_factor_costs_what_the_focus_leaves_of_it() -> None:
    _, true = depths(1)
    loss = silog_loss(1.3 * true.clamp(min=0.1), true).loss
    assert loss.item() == pytest.approx(10 * np.sqrt(0.15) * np.log(1.3), rel=1e-3)


def test_gradient_is_finite_at_perfect_depth() -> None:
    _, true = depths(2)
    ours = torch.where(true > 0, true, 5.0).requires_grad_()
    loss = silog_loss(ours, true).loss
    loss.backward()
    assert loss.item() <= 1.01e-3
    assert ours.grad is not None and torch.isfinite(ours.grad).all()


def test_images_without_depth_are_counted_and_do_not_count() -> None:
    ours, true = depths(3)
    without = true.clone()
    without[1] = 0
    loss, skipped = silog_loss(ours, without)
    assert skipped == 1
    torch.testing.assert_close(loss, silog_loss(ours[[0, 2]], true[[0, 2]]).loss)
    ours.requires_grad_()
    loss, skipped = silog_loss(ours, torch.zeros_like(true))
    loss.backward()
    assert loss == 0 and skipped == 3
    assert ours.grad is not None and not ours.grad.any()


def test_pixels_without_depth_get_no_gradient_even_from_bad_depth() -> None:
    ours, true = depths(4)
    ours[true == 0] = 0.0  # its logarithm is not finite
    ours.requires_grad_()
    silog_loss(ours, true).loss.backward()
    assert ours.grad is not None and torch.isfinite(ours.grad).all()
    assert not ours.grad[true == 0].any() and ours.grad[true > 0].all()


def test_a_map_without_its_channel_is_refused_and_not_broadcast() -> None:
    ours, true = depths(5)
    with pytest.raises(ValueError, match=r"true_depth_m \(3, 5, 7\)"):
        silog_loss(ours, true[:, 0])
