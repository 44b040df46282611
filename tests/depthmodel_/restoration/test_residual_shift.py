"""Residual-shift diffusion: its schedule by hand, and steps that keep the right distribution."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.restoration.residual_shift import (
    deterministic_step,
    noised,
    shift_schedule,
    stochastic_step,
)

NUM_STEPS = [1, 2, 4, 8]


def eta_of(num_steps: int, kappa: float) -> list[float]:
    """eta_0 .. eta_T."""
    return [0.0, *shift_schedule(num_steps, kappa, 0.3, 0.2).tolist()]


def three(shape: tuple[int, ...] = (2, 3, 4, 5)) -> tuple[Tensor, Tensor, Tensor]:
    """What is sought, its degraded version and noise, in float64."""
    generator = torch.Generator().manual_seed(0)
    target, shift, eps = torch.randn(3, *shape, generator=generator, dtype=torch.float64)
    return target, target + shift, eps


@pytest.mark.parametrize(
    ("kappa", "expected"),
    [(2.0, [0.0100, 0.2705, 0.5797, 0.9801]), (0.5, [0.0400, 0.3992, 0.6795, 0.9801])],
)
def test_schedule_is_the_published_one(kappa: float, expected: list[float]) -> None:
    eta = shift_schedule(4, kappa, 0.3, 0.2)
    assert eta.dtype == torch.float64
    assert eta.tolist() == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("num_steps", [1, 2, 4, 8, 15])
@pytest.mark.parametrize("kappa", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("power", [0.3, 1.0, 2.0])
def test_schedule_is_the_formula_and_increases(num_steps: int, kappa: float, power: float) -> None:
    eta = shift_schedule(num_steps, kappa, power, 0.2).numpy()
    assert (np.diff(eta) > 0).all() and eta[0] > 0 and eta[-1] == pytest.approx(0.99**2)
    if num_steps > 1:
        s = 0.2 / kappa if kappa > 1 else 0.2
        growth = (0.99 / s) ** (1 / (num_steps - 1))
        exponents = np.linspace(0, 1, num_steps) ** power * (num_steps - 1)
        np.testing.assert_allclose(eta, (growth**exponents * s) ** 2, rtol=1e-12)


@pytest.mark.parametrize(
    "wrong",
    [(0, 0.5, 0.3, 0.2), (4, -0.1, 0.3, 0.2), (4, 0.5, 0.0, 0.2), (4, 0.5, 0.3, 0.0), (4, 1, 1, 1)],
)
def test_values_without_a_schedule_are_refused(wrong: tuple[int, float, float, float]) -> None:
    with pytest.raises(InvalidRequest, match="min_noise < end"):
        shift_schedule(*wrong)


@pytest.mark.parametrize("num_steps", NUM_STEPS)
@pytest.mark.parametrize("kappa", [0.0, 0.5, 2.0])
def test_deterministic_chain_of_an_oracle_stays_on_the_forward_process(
    num_steps: int, kappa: float
) -> None:
    target, source, eps = three()
    eta = eta_of(num_steps, kappa)
    x = noised(target, source, eta[-1], kappa, eps)
    for t in range(num_steps, 0, -1):
        x = deterministic_step(x, target, source, eta[t], eta[t - 1])
        expected = noised(target, source, eta[t - 1], kappa, eps)
        torch.testing.assert_close(x, expected, rtol=0, atol=1e-14)
    assert torch.equal(x, target)


@pytest.mark.parametrize("num_steps", NUM_STEPS)
def test_last_step_gives_the_estimate_whatever_it_is(num_steps: int) -> None:
    target, source, eps = three()
    eta = eta_of(num_steps, 0.5)
    x = noised(target, source, eta[1], 0.5, eps)
    wrong = target + 1
    torch.testing.assert_close(deterministic_step(x, wrong, source, eta[1], 0.0), wrong)
    torch.testing.assert_close(stochastic_step(x, wrong, eta[1], 0.0, 0.5, eps), wrong)


def test_stochastic_step_of_an_oracle_has_the_marginal_of_the_forward_process() -> None:
    """Both noises enter linearly: their factors squared add up to the variance of x_{t-1}."""
    kappa, eta = 0.5, eta_of(4, 0.5)
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    target, source = 3 * one, 5 * one
    for t in range(4, 1, -1):

        def before(old: Tensor, new: Tensor, t: int = t) -> Tensor:
            x = noised(target, source, eta[t], kappa, old)
            return stochastic_step(x, target, eta[t], eta[t - 1], kappa, new)

        mean = before(zero, zero)
        variance = (before(one, zero) - mean).square() + (before(zero, one) - mean).square()
        assert mean.item() == pytest.approx(3 + eta[t - 1] * 2, abs=1e-14)
        assert variance.item() == pytest.approx(kappa**2 * eta[t - 1], abs=1e-14)


def test_stochastic_chain_of_an_oracle_has_that_marginal_in_samples() -> None:
    kappa, eta, num = 0.5, eta_of(4, 0.5), 40_000
    generator = torch.Generator().manual_seed(1)
    target, source = torch.full((num,), 3.0), torch.full((num,), 5.0)
    x = noised(target, source, eta[4], kappa, torch.randn(num, generator=generator))
    for t in (4, 3, 2):
        eps = torch.randn(num, generator=generator)
        x = stochastic_step(x, target, eta[t], eta[t - 1], kappa, eps)
    deviation = kappa * math.sqrt(eta[1])
    assert x.mean().item() == pytest.approx(3 + 2 * eta[1], abs=5 * deviation / math.sqrt(num))
    assert x.std().item() == pytest.approx(deviation, rel=5 / math.sqrt(2 * num))


def test_every_sample_may_be_at_a_step_of_its_own_and_dtype_is_kept() -> None:
    target, source, eps = (x.float() for x in three())
    eta = torch.tensor(eta_of(4, 0.5))
    late, early = eta[[3, 1]].view(2, 1, 1, 1), eta[[2, 0]].view(2, 1, 1, 1)
    x = noised(target, source, late, 0.5, eps)
    together = deterministic_step(x, target + 1, source, late, early)
    assert together.dtype == torch.float32
    for i in range(2):
        args = target[i] + 1, source[i], late[i].item(), early[i].item()
        torch.testing.assert_close(together[i], deterministic_step(x[i], *args))
