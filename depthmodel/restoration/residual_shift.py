"""Residual-shift diffusion: schedule, forward process and the steps of the reverse chain.

    x_t = f* + eta_t (f - f*) + kappa sqrt(eta_t) eps,     0 = eta_0 < eta_1 < ... < eta_T ~ 1

f*: the target, f: its degraded version, where the chain starts. IID-RDepth, eqs. 2, 3, 5 and 6
(docs/papers/iid_rdepth.md): schedule and stochastic chain after ResShift (Yue et al., NeurIPS 2023,
section 2); the deterministic step keeps the noise in x_t, as in DDIM (Song et al., ICLR 2021). eta
is a number, or broadcasts, as (B, 1, 1, 1).
"""

import torch
from torch import Tensor

from nightrain.datasets.errors import InvalidRequest


def shift_schedule(
    num_steps: int, kappa: float, power: float, min_noise: float, end: float = 0.99
) -> Tensor:
    """Schedule eta_1 .. eta_T (T,), increasing, float64 on the CPU.

    sqrt(eta_t) = s (end/s)^(((t-1)/(T-1))^power), s = min(min_noise/kappa, min_noise); one step
    alone has sqrt(eta) = end. Source: IID-RDepth, eq. 3 (docs/papers/iid_rdepth.md). Raises
    InvalidRequest for values that give no increasing schedule in (0, 1).
    """
    if num_steps < 1 or kappa < 0 or power <= 0 or not 0 < min_noise < end < 1:
        raise InvalidRequest(
            f"found num_steps {num_steps}, kappa {kappa}, power {power}, min_noise {min_noise} and "
            f"end {end}, expected num_steps >= 1, kappa >= 0, power > 0, 0 < min_noise < end < 1"
        )
    if num_steps == 1:
        return torch.tensor([end**2], dtype=torch.float64, device="cpu")
    start = min_noise / max(kappa, 1.0)
    time = torch.linspace(0, 1, num_steps, dtype=torch.float64, device="cpu") ** power  # (T,)
    return (start * (end / start) ** time).square()


def noised(
    target: Tensor, source: Tensor, eta: float | Tensor, kappa: float, eps: Tensor
) -> Tensor:
    """Forward process: x_t of a target f* and its degraded version f, with standard normal `eps`.

    Source: IID-RDepth, eq. 2 (docs/papers/iid_rdepth.md).
    """
    return target + eta * (source - target) + kappa * eta**0.5 * eps


def deterministic_step(
    x: Tensor, estimate: Tensor, source: Tensor, eta: float | Tensor, eta_before: float | Tensor
) -> Tensor:
    """Deterministic step: x_{t-1} of x_t and the estimate of f*, with the noise of x_t.

    Exact where the estimate is; eta_before = 0 gives the estimate. Source: IID-RDepth, eq. 5
    (docs/papers/iid_rdepth.md).
    """
    kept = (eta_before / eta) ** 0.5
    shift = source - estimate
    return estimate + eta_before * shift + kept * (x - estimate - eta * shift)


def stochastic_step(
    x: Tensor,
    estimate: Tensor,
    eta: float | Tensor,
    eta_before: float | Tensor,
    kappa: float,
    eps: Tensor,
) -> Tensor:
    """Stochastic step: x_{t-1} drawn given x_t and the estimate of f*; `eps` 0 gives the mean.

    Source: IID-RDepth, eq. 6 (docs/papers/iid_rdepth.md).
    """
    share = eta_before / eta
    deviation = kappa * (share * (eta - eta_before)) ** 0.5
    return share * x + (1 - share) * estimate + deviation * eps
