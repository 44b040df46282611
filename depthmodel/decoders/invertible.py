"""Invertible stages: affine couplings of two streams with an exact inverse.

    down <- down * s(G(up)) + H(up);   up <- up * s(G'(down)) + H'(down);   s(v) = exp(a tanh(v))

IID-RDepth, eq. 13 (docs/papers/iid_rdepth.md). The paper's figure shows two streams that update
each other by a multiplication (G) and an addition (H); that one comes from the encoder (`up`) and
one from the decoder (`down`) is our choice.

Each half step leaves one stream unchanged, so it is inverted by (x - H) / s, without iterations.
The scale depends on the other stream, so these stages are bi-Lipschitz on bounded sets but not
globally (section 3.4 there); the decoder with known constants is depthmodel/decoders/strict.py.
"""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.precision import at_least_float32, exact_convolutions

COUPLINGS = {  # row of a model card
    "lower stages": "IID-RDepth (Bai et al. 2026): invertible lower stages; reconstructed: which "
    "streams they couple"
}
NUM_PAIRS = 2  # couplings of a stage
SCALE_BOUND = 0.5  # a: a half step scales by a factor in [exp(-a), exp(a)]


class Streams(NamedTuple):
    """Inputs of the two stages, with as many values as their output."""

    y: torch.Tensor  # (B, width, h, w), the decoder's
    up1: torch.Tensor  # (B, width, h, w), of the encoder's map e1
    up0: torch.Tensor  # (B, width / 2, 2h, 2w), of the encoder's map e0


class HalfStep(nn.Module):
    """Scale and shift that one stream x (B, C, h, w) gives the other; both start at 0.

    G and H share their first layer, which halves the cost.
    """

    def __init__(self, channels: int, scale_bound: float) -> None:
        super().__init__()
        self.scale_bound = scale_bound
        self.shared = nn.Conv2d(channels, channels, 3, padding=1)
        self.gain_shift = nn.Conv2d(channels, 2 * channels, 3, padding=1)
        nn.init.zeros_(self.gain_shift.weight)
        if self.gain_shift.bias is not None:
            nn.init.zeros_(self.gain_shift.bias)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log scale, within +-scale_bound, and shift, each (B, C, h, w)."""
        gain, shift = self.gain_shift(F.silu(self.shared(x))).chunk(2, dim=1)
        return self.scale_bound * torch.tanh(gain), shift


class TwoStreamCoupling(nn.Module):
    """Pair of half steps on two streams (B, C, h, w); starts as the identity."""

    def __init__(self, channels: int, scale_bound: float = SCALE_BOUND) -> None:
        super().__init__()
        self.from_up = HalfStep(channels, scale_bound)
        self.from_down = HalfStep(channels, scale_bound)

    def forward(self, up: torch.Tensor, down: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(up', down') of the same shapes."""
        log_scale, shift = self.from_up(up)
        down = down * log_scale.exp() + shift
        log_scale, shift = self.from_down(down)
        return up * log_scale.exp() + shift, down

    def inverse(self, up: torch.Tensor, down: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Invert `forward`: undo the half steps, the last one first."""
        log_scale, shift = self.from_down(down)
        up = (up - shift) * (-log_scale).exp()
        log_scale, shift = self.from_up(up)
        return up, (down - shift) * (-log_scale).exp()


class InvertibleStages(nn.Module):
    """Stage A on e1's grid, PixelShuffle(2), stage B on e0's grid, which is twice as fine.

    `low_channels` are those of (e0, e1). Projections P0 and P1 bring them to the width of their
    stage where they differ. Runs in float32 at least. Raises InvalidRequest for an odd width, which
    pixel shuffle cannot halve.
    """

    def __init__(
        self,
        low_channels: tuple[int, int],
        width: int,
        *,
        num_pairs: int = NUM_PAIRS,
        scale_bound: float = SCALE_BOUND,
    ) -> None:
        super().__init__()
        if width % 2:
            raise InvalidRequest(
                f"found a width of {width}, expected an even one: give {width + 1}"
            )
        self.width = width
        self.project0 = _projection(low_channels[0], width // 2)
        self.project1 = _projection(low_channels[1], width)
        self.stage_a = _couplings(width, num_pairs, scale_bound)
        self.stage_b = _couplings(width // 2, num_pairs, scale_bound)

    def forward(self, y: torch.Tensor, low: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """(B, width, h0, w0) of y (B, width, h1, w1) and the encoder's maps (e0, e1).

        Raises InvalidRequest unless y is on e1's grid and e0's is twice as fine; `on_any_grid`
        pads.
        """
        with exact_convolutions(y.device.type):
            e0, e1 = (at_least_float32(e) for e in low)
            return self.join(Streams(at_least_float32(y), self.project1(e1), self.project0(e0)))

    def on_any_grid(self, y: torch.Tensor, low: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Like `forward`, for any grids: pads with zeros at the bottom and right, and crops after.

        Cropped values cannot be inverted; `inverse` belongs to `forward`.
        """
        h0, w0 = low[0].shape[2:]
        coarse = (
            max(low[1].shape[2], y.shape[2], -(-h0 // 2)),
            max(low[1].shape[3], y.shape[3], -(-w0 // 2)),
        )
        e0 = fit_grid(low[0], (2 * coarse[0], 2 * coarse[1]))
        return fit_grid(self(fit_grid(y, coarse), (e0, fit_grid(low[1], coarse))), (h0, w0))

    def inverse(
        self, out: torch.Tensor, low: tuple[torch.Tensor, torch.Tensor] | None = None
    ) -> Streams:
        """Streams that `forward` mixed into `out` (B, width, h0, w0): y, P1(e1) and P0(e0).

        `low` is not read; the strict decoder needs it. Raises InvalidRequest for another shape.
        """
        if out.shape[1] != self.width or out.shape[2] % 2 or out.shape[3] % 2:
            raise InvalidRequest(
                f"found a map of shape {tuple(out.shape)}, expected (B, {self.width}, h, w) with "
                "even h and w: give what forward returned, before any crop."
            )
        with exact_convolutions(out.device.type):
            return self.split(at_least_float32(out))

    def join(self, streams: Streams) -> torch.Tensor:
        """Mix the streams to one map (B, width, 2h, 2w); raises InvalidRequest."""
        _check_grids(streams)
        up, down = streams.up1, streams.y
        for coupling in self.stage_a:
            up, down = coupling(up, down)
        # (B, 2 width, h, w) -> (B, width / 2, 2h, 2w)
        down, up = F.pixel_shuffle(torch.cat((up, down), dim=1), 2), streams.up0
        for coupling in self.stage_b:
            up, down = coupling(up, down)
        return torch.cat((up, down), dim=1)  # (B, width, 2h, 2w)

    def split(self, out: torch.Tensor) -> Streams:
        """Invert `join`: streams of a map (B, width, 2h, 2w)."""
        up, down = out.chunk(2, dim=1)
        for coupling in reversed(list(self.stage_b)):
            up, down = _undo(coupling, up, down)
        up0 = up
        up, down = F.pixel_unshuffle(down, 2).chunk(2, dim=1)  # each (B, width, h, w)
        for coupling in reversed(list(self.stage_a)):
            up, down = _undo(coupling, up, down)
        return Streams(y=down, up1=up, up0=up0)


def fit_grid(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Crop or zero-pad (B, C, h, w) at the bottom and right to (B, C, *size)."""
    missing = (size[0] - x.shape[2], size[1] - x.shape[3])
    return F.pad(x, (0, missing[1], 0, missing[0])) if any(missing) else x


def _couplings(channels: int, num_pairs: int, scale_bound: float) -> nn.ModuleList:
    return nn.ModuleList(TwoStreamCoupling(channels, scale_bound) for _ in range(num_pairs))


def _projection(channels: int, out: int) -> nn.Module:
    return nn.Identity() if channels == out else nn.Conv2d(channels, out, 1)


def _undo(
    coupling: nn.Module, up: torch.Tensor, down: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    assert isinstance(coupling, TwoStreamCoupling)
    return coupling.inverse(up, down)


def _check_grids(streams: Streams) -> None:
    (h, w), found = streams.y.shape[2:], [tuple(up.shape[2:]) for up in streams[1:]]
    if found != [(h, w), (2 * h, 2 * w)]:
        raise InvalidRequest(
            f"found the decoder's map on a grid of {h} x {w}, e1 on {_by(found[0])} and e0 on "
            f"{_by(found[1])}; expected e1 on {h} x {w} and e0 on {2 * h} x {2 * w}. Give images "
            "whose sides are multiples of 8, or call on_any_grid, which pads and crops."
        )


def _by(grid: tuple[int, ...]) -> str:
    return " x ".join(map(str, grid))
