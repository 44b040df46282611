"""SSIM and colour error against a computation by windows in numpy."""

import numpy as np
import pytest
import torch
from torch import Tensor

from nightrain.depthmodel.losses.photometric import photometric_error, ssim_error


def images(seed: int, *, height: int = 9, width: int = 11) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    a = torch.rand(2, 3, height, width)
    return a, (a + 0.3 * torch.randn_like(a)).clamp(0, 1)


def windows(channel: np.ndarray, y: int, x: int) -> np.ndarray:
    """The 3x3 pixels round (y, x) of a channel (H, W) whose borders are mirrored."""
    return np.pad(channel.astype(np.float64), 1, mode="reflect")[y : y + 3, x : x + 3]


def ssim_by_windows(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Wang et al. 2004, eq. 13, one window at a time."""
    out = np.zeros(a.shape)
    for n, c, y, x in np.ndindex(*a.shape):
        p, q = windows(a[n, c], y, x), windows(b[n, c], y, x)
        covariance = ((p - p.mean()) * (q - q.mean())).mean()
        out[n, c, y, x] = (
            (2 * p.mean() * q.mean() + 0.01**2)
            * (2 * covariance + 0.03**2)
            / ((p.mean() ** 2 + q.mean() ** 2 + 0.01**2) * (p.var() + q.var() + 0.03**2))
        )
    return out


def test_ssim_is_that_of_its_windows() -> None:
    a, b = images(0)
    expected = np.clip((1 - ssim_by_windows(a.numpy(), b.numpy())) / 2, 0, 1)
    assert np.ptp(expected) > 0.3
    np.testing.assert_allclose(ssim_error(a, b).numpy(), expected, atol=1e-5)


def test_photometric_error_weighs_structure_and_colour() -> None:
    a, b = images(1)
    structure = np.clip((1 - ssim_by_windows(a.numpy(), b.numpy())) / 2, 0, 1).mean(1)
    colour = np.abs(a.numpy() - b.numpy()).mean(1)
    error = photometric_error(a, b)
    assert error.shape == (2, 1, 9, 11)
    np.testing.assert_allclose(error[:, 0].numpy(), 0.85 * structure + 0.15 * colour, atol=1e-5)


def test_equal_images_have_no_error_and_a_negative_has_the_most() -> None:
    a, _ = images(2)
    assert photometric_error(a, a).abs().max() < 1e-6
    board = (torch.arange(8)[:, None] + torch.arange(8)).remainder(2).float().expand(1, 3, 8, 8)
    assert photometric_error(board, 1 - board)[..., 1:-1, 1:-1].min() > 0.95
    assert photometric_error(a, 1 - a).max() <= 1


def test_error_is_symmetric_and_its_gradient_is_right() -> None:
    a, b = (image.double() for image in images(3, height=4, width=5))
    torch.testing.assert_close(photometric_error(a, b), photometric_error(b, a))
    b = (
        0.7 * a + 0.1 * torch.rand_like(a)
    ).detach()  # kinks of |a - b| and of the clamp are not met
    assert torch.autograd.gradcheck(photometric_error, (a.requires_grad_(), b.requires_grad_()))


def test_gradient_is_finite_on_flat_and_equal_images() -> None:
    for value in (0.0, 0.5, 1.0):
        a = torch.full((1, 3, 6, 6), value, requires_grad=True)
        photometric_error(a, torch.full_like(a, value)).sum().backward()
        assert a.grad is not None and torch.isfinite(a.grad).all()


def test_other_shapes_are_refused_and_not_broadcast() -> None:
    a, b = images(4)
    with pytest.raises(ValueError, match=r"a \(2, 3, 9, 11\), b \(1, 3, 9, 11\)"):
        photometric_error(a, b[:1])
