"""Affine coupling with known bi-Lipschitz constants, the invertible step of the strict decoder.

With Q orthogonal, (x1, x2) the halves of Q x and c a condition, one half step is

    y1 = x1,   y2 = s(c) x2 + t(c) + h(x1, c),   y = Q^T (y1, y2),
    s(c) = exp(a tanh(.)),   h(x1, c) = alpha W2 D act(W1 x1 + Wc c),

where W1, W2 (1x1) and D (3x3, one kernel per channel) have operator norms of at most 1 and act has
slopes of at most 1. The scale does not depend on x1: otherwise it would be Lipschitz only locally
(Behrmann et al. 2021, exploding inverses). IID-RDepth, eqs. 9 and 15 (docs/papers/iid_rdepth.md);
couplings after Dinh et al. 2017 (RealNVP), orthogonal 1x1 convolutions after Kingma and Dhariwal
2018 (Glow).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import orthogonal

SILU_SLOPE = 1.1  # the largest slope of SiLU is 1.09984


class UnitSpectralNorm(nn.Module):
    """Spectral normalisation: W / max(1, largest singular value) of a weight (out, in, 1, 1).

    The singular value is computed exactly each time; a power iteration would underestimate it.
    """

    def forward(self, weight: Tensor) -> Tensor:
        """Weight of a map with operator norm at most 1."""
        return weight / torch.linalg.matrix_norm(weight.flatten(1), 2).clamp(min=1)


class UnitKernelSum(nn.Module):
    """Depth-wise kernels (C, 1, k, k), each divided by max(1, sum of its absolute values).

    The sum bounds the norm of the convolution (Young's inequality) and is at most k times the norm
    of the kernel, which a spectral norm of the reshaped weight would measure.
    """

    def forward(self, weight: Tensor) -> Tensor:
        """Weight of a map with operator norm at most 1."""
        return weight / weight.abs().sum(dim=(1, 2, 3), keepdim=True).clamp(min=1)


class ChannelRotation(nn.Module):
    """Orthogonal 1x1 convolution of (B, C, h, w), parametrised by Cayley's map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # Rotations of up to about a right angle. Without a base matrix, which would be orthogonal
        # only at the precision it was made in, the rotation is exact at any precision.
        self.weight = nn.Parameter(torch.randn(channels, channels) / math.sqrt(channels))
        orthogonal(self, "weight", orthogonal_map="cayley", use_trivialization=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Rotated map (B, C, h, w), and the matrix (C, C) for `back`, costly to compute."""
        matrix = self.weight
        return F.conv2d(x, matrix[:, :, None, None]), matrix

    @staticmethod
    def back(x: Tensor, matrix: Tensor) -> Tensor:
        """Undo the rotation of a map (B, C, h, w)."""
        return F.conv2d(x, matrix.T[:, :, None, None])


class Coupling(nn.Module):
    """Half step on (B, C, h, w), given a condition (B, condition_channels, h, w).

    Starts as the identity. `scale_bound` is a, `lipschitz` is alpha in the module's formula.
    Source: IID-RDepth, eq. 15 (docs/papers/iid_rdepth.md).
    """

    def __init__(
        self,
        channels: int,
        condition_channels: int,
        hidden_channels: int,
        *,
        scale_bound: float,
        lipschitz: float,
    ) -> None:
        super().__init__()
        self.scale_bound, self.lipschitz = scale_bound, lipschitz
        self.kept = channels // 2
        changed = channels - self.kept
        self.rotation = ChannelRotation(channels)
        self.affine = nn.Conv2d(condition_channels, 2 * changed, 3, padding=1)
        self.enter = _unit(nn.Conv2d(self.kept, hidden_channels, 1, bias=False))
        self.enter_condition = nn.Conv2d(condition_channels, hidden_channels, 1)
        self.around = nn.Conv2d(
            hidden_channels, hidden_channels, 3, padding=1, groups=hidden_channels, bias=False
        )
        parametrize.register_parametrization(self.around, "weight", UnitKernelSum())
        leave = nn.Conv2d(hidden_channels, changed, 1, bias=False)
        nn.init.zeros_(leave.weight)
        nn.init.zeros_(self.affine.weight)
        nn.init.zeros_(_bias(self.affine))
        self.leave = _unit(leave)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """Apply the half step to x (B, C, h, w)."""
        rotated, matrix = self.rotation(x)
        x1, x2 = rotated[:, : self.kept], rotated[:, self.kept :]
        log_scale, shift = self.log_scale_and_shift(x1, c)
        return self.rotation.back(torch.cat([x1, log_scale.exp() * x2 + shift], dim=1), matrix)

    def inverse(self, y: Tensor, c: Tensor) -> Tensor:
        """Invert the half step: x (B, C, h, w) of y (B, C, h, w), in closed form."""
        rotated, matrix = self.rotation(y)
        y1, y2 = rotated[:, : self.kept], rotated[:, self.kept :]
        log_scale, shift = self.log_scale_and_shift(y1, c)
        return self.rotation.back(torch.cat([y1, (y2 - shift) * (-log_scale).exp()], dim=1), matrix)

    def log_scale_and_shift(self, x1: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """log s(c) and t(c) + h(x1, c), each (B, changed channels, h, w)."""
        raw_scale, shift = self.affine(c).chunk(2, dim=1)
        hidden = F.silu(self.enter(x1) + self.enter_condition(c)) / SILU_SLOPE
        log_scale = self.scale_bound * raw_scale.tanh()
        return log_scale, shift + self.lipschitz * self.leave(self.around(hidden))

    def constants(self) -> tuple[float, float]:
        """Lipschitz constants of the step and of its inverse, for every condition and all weights.

        The Jacobian is [[1, 0], [A, S]] with |A| <= alpha and S diagonal, |log S| <= a. Source:
        IID-RDepth, eq. 9 (docs/papers/iid_rdepth.md).
        """
        scale = math.exp(self.scale_bound)
        return (
            _lower_triangle_norm(self.lipschitz, scale),
            _lower_triangle_norm(self.lipschitz * scale, scale),
        )


def plain_weights(module: nn.Module) -> None:
    """Replace, in place, every bounded or orthogonal weight by its current value.

    For export: a runtime then needs neither singular values nor matrix inverses. Outputs are equal
    up to rounding; the names of the tensors change, and further training would lose the bounds.
    """
    for part in list(module.modules()):
        if parametrize.is_parametrized(part, "weight"):
            assert isinstance(part.weight, Tensor)
            value = nn.Parameter(part.weight.detach().clone(memory_format=torch.contiguous_format))
            # torch's remove_parametrizations deletes the weight from the class, which all copies of
            # the module share, so they would lose theirs.
            part.__class__ = parametrize.type_before_parametrizations(part)
            del part.parametrizations
            part.weight = value


def _unit(layer: nn.Conv2d) -> nn.Conv2d:
    parametrize.register_parametrization(layer, "weight", UnitSpectralNorm())
    return layer


def _lower_triangle_norm(below: float, corner: float) -> float:
    """Spectral norm of [[1, 0], [below, corner]]."""
    matrix = torch.tensor([[1.0, 0.0], [below, corner]], dtype=torch.float64)
    return float(torch.linalg.matrix_norm(matrix, 2))


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias
