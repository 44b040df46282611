"""Half steps: exact inverses, norms that are bounds and not estimates."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nightrain.depthmodel.decoders.coupling import (
    SILU_SLOPE,
    Coupling,
    UnitKernelSum,
    UnitSpectralNorm,
    plain_weights,
)


def wild(coupling: Coupling) -> Coupling:
    """Weights of a size at which every bound is at work."""
    for name, weight in coupling.named_parameters():
        nn.init.normal_(weight, std=1.0 if "rotation" not in name else 0.3)
    return coupling


def half_step(seed: int = 0, channels: int = 6, a: float = 0.25, alpha: float = 0.25) -> Coupling:
    torch.manual_seed(seed)
    return wild(Coupling(channels, 3, 8, scale_bound=a, lipschitz=alpha).double())


def noise(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def largest_singular_value(matrix: Tensor) -> float:
    return float(np.linalg.svd(matrix.detach().numpy(), compute_uv=False)[0])


def operator(layer: nn.Module, channels: int, side: int) -> Tensor:
    """The matrix of a linear map of (1, channels, side, side)."""
    units = torch.eye(channels * side * side, dtype=torch.float64)
    return layer(units.view(-1, channels, side, side)).flatten(1).T


@pytest.mark.parametrize("channels", [2, 5, 16])
def test_inverse_in_both_directions(channels: int) -> None:
    step, x, c = half_step(channels=channels), 10 * noise(2, channels, 4, 3), noise(2, 3, 4, 3)
    assert (step(x, c) - x).abs().max() > 0.1
    torch.testing.assert_close(step.inverse(step(x, c), c), x, rtol=0, atol=1e-12)
    torch.testing.assert_close(step(step.inverse(x, c), c), x, rtol=0, atol=1e-12)


def test_it_starts_as_the_identity() -> None:
    torch.manual_seed(0)
    step = Coupling(6, 3, 8, scale_bound=0.25, lipschitz=0.25).double()
    x = noise(1, 6, 4, 4)
    torch.testing.assert_close(step(x, noise(1, 3, 4, 4)), x, rtol=0, atol=1e-12)


def test_the_formula_computed_in_numpy() -> None:
    step = half_step(channels=4)
    x, c = noise(1, 4, 1, 1), noise(1, 3, 1, 1, seed=1)  # one pixel: kernels are their centres
    q = step.rotation.weight.detach().numpy()
    x1, x2 = np.split(q @ x.numpy().ravel(), 2)
    centre = {k: getattr(step, k).weight[:, :, 1, 1].detach().numpy() for k in ("affine", "around")}
    plain = {k: getattr(step, k).weight[:, :, 0, 0].detach().numpy() for k in ("enter", "leave")}
    see = step.enter_condition
    assert step.affine.bias is not None and see.bias is not None
    scale, shift = np.split(
        centre["affine"] @ c.numpy().ravel() + step.affine.bias.detach().numpy(), 2
    )
    inner = plain["enter"] @ x1 + see.weight[:, :, 0, 0].detach().numpy() @ c.numpy().ravel()
    inner = inner + see.bias.detach().numpy()
    hidden = inner / (1 + np.exp(-inner)) / SILU_SLOPE
    h = 0.25 * plain["leave"] @ (centre["around"][:, 0] * hidden)
    y = q.T @ np.concatenate([x1, np.exp(0.25 * np.tanh(scale)) * x2 + shift + h])
    np.testing.assert_allclose(step(x, c).detach().numpy().ravel(), y, rtol=1e-12)


def test_the_rotation_is_orthogonal_at_either_precision() -> None:
    rotation = half_step(channels=32).rotation
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-13)):
        q = rotation.to(dtype).weight
        assert (q @ q.T - torch.eye(32, dtype=dtype)).abs().max() < tolerance


def test_slope_of_the_activation() -> None:
    x = torch.linspace(-20, 20, 400001, dtype=torch.float64, requires_grad=True)
    nn.functional.silu(x).sum().backward()
    assert x.grad is not None and 1.09 < x.grad.abs().max() < SILU_SLOPE


def test_pointwise_norm_is_the_exact_one_and_small_weights_stay() -> None:
    weight = noise(7, 5, 1, 1)
    bounded = UnitSpectralNorm()(weight)
    assert largest_singular_value(bounded[:, :, 0, 0]) == pytest.approx(1, abs=1e-12)
    small = weight / 100
    assert torch.equal(UnitSpectralNorm()(small), small)


def test_two_equal_directions_do_not_fool_the_norm() -> None:
    """A start vector of a power iteration could lie across the largest direction."""
    weight = torch.diag(torch.tensor([3.0, 3.0, 0.1], dtype=torch.float64))[:, :, None, None]
    assert largest_singular_value(UnitSpectralNorm()(weight)[:, :, 0, 0]) == pytest.approx(1)


def test_depthwise_norm_bounds_the_convolution_and_the_reshaped_norm_does_not() -> None:
    layer = nn.Conv2d(2, 2, 3, padding=1, groups=2, bias=False, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.ones(2, 1, 3, 3))  # the worst kernel
        layer.weight[1].copy_(noise(1, 3, 3))
        layer.weight.copy_(UnitKernelSum()(layer.weight))
    assert 0.9 < largest_singular_value(operator(layer, 2, 12)) <= 1
    sums = layer.weight.abs().sum(dim=(1, 2, 3))
    assert (sums <= 3 * layer.weight.flatten(1).norm(dim=1) + 1e-12).all()  # k times the norm
    with torch.no_grad():
        layer.weight /= layer.weight.flatten(1).norm(dim=1).view(2, 1, 1, 1)
    assert largest_singular_value(operator(layer, 2, 12)) > 2.5


def jacobian(step: Coupling, x: Tensor, c: Tensor) -> Tensor:
    found = torch.autograd.functional.jacobian(lambda v: step(v, c), x)
    assert isinstance(found, Tensor)
    return found.reshape(x.numel(), x.numel())


@pytest.mark.parametrize(("a", "alpha"), [(0.25, 0.25), (0.1, 0.25), (1.0, 1.0)])
def test_singular_values_lie_within_the_constants(a: float, alpha: float) -> None:
    most, least = [], []
    for seed in range(6):
        step = half_step(seed, a=a, alpha=alpha)
        x, c = 3 * noise(1, 6, 4, 4, seed=seed), noise(1, 3, 4, 4, seed=seed + 9)
        values = np.linalg.svd(jacobian(step, x, c).numpy(), compute_uv=False)
        most.append(values[0])
        least.append(values[-1])
    lipschitz, inverse_lipschitz = half_step(a=a, alpha=alpha).constants()
    assert 1 < max(most) <= lipschitz
    assert 1 > min(least) >= 1 / inverse_lipschitz


def test_constants_at_the_defaults() -> None:
    """Its table, and the norm by the closed formula for 2x2 matrices."""
    assert half_step().constants() == pytest.approx((1.338, 1.368), abs=6e-4)
    assert half_step(a=0.1).constants() == pytest.approx((1.196, 1.209), abs=6e-4)
    assert half_step(a=1.0, alpha=1.0).constants() == pytest.approx((2.92, 3.91), abs=6e-3)
    below, corner = 0.25, math.exp(0.25)
    size = 1 + below**2 + corner**2
    by_hand = math.sqrt((size + math.sqrt(size**2 - 4 * corner**2)) / 2)
    assert half_step().constants()[0] == pytest.approx(by_hand, rel=1e-12)


def test_the_scale_does_not_look_at_the_kept_half() -> None:
    step, c = half_step(), noise(1, 3, 4, 4)
    one, _ = step.log_scale_and_shift(noise(1, 3, 4, 4, seed=1), c)
    other, _ = step.log_scale_and_shift(noise(1, 3, 4, 4, seed=2), c)
    assert torch.equal(one, other) and 0.05 < one.abs().max() <= 0.25


def test_norms_hold_after_optimiser_steps_in_train_and_eval() -> None:
    step = half_step(channels=8)
    optimiser = torch.optim.Adam(step.parameters(), lr=0.3)
    for seed in range(3):
        x, c = noise(2, 8, 4, 4, seed=seed), noise(2, 3, 4, 4, seed=seed)
        optimiser.zero_grad()
        (-step(x, c).square().mean()).backward()  # away from the bounds, if it could
        optimiser.step()
    for mode in (True, False):
        step.train(mode)
        for layer in (step.enter, step.leave):
            assert largest_singular_value(layer.weight[:, :, 0, 0]) <= 1 + 1e-12
        assert (step.around.weight.abs().sum(dim=(1, 2, 3)) <= 1 + 1e-12).all()


def test_plain_weights_give_the_same_output_and_leave_copies_alone() -> None:
    step, x, c = half_step(), noise(1, 6, 4, 4), noise(1, 3, 4, 4)
    plain = copy.deepcopy(step)
    plain_weights(plain)
    torch.testing.assert_close(plain(x, c), step(x, c), rtol=0, atol=1e-12)
    torch.testing.assert_close(copy.deepcopy(plain)(x, c), plain(x, c), rtol=0, atol=0)
    assert not [name for name in plain.state_dict() if "parametrizations" in name]
    assert [name for name in step.state_dict() if "parametrizations" in name]
