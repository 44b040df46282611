"""Adaptive bins: depth as an expectation over bins with centres predicted for each image.

IID-RDepth, eq. 1 (docs/papers/iid_rdepth.md), after Bhat, Alhashim and Wonka, CVPR 2021, eqs. 2 and
3: widths that fill the range of depths, their running sum, and the mean of the centres under each
pixel's probabilities.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.precision import at_least_float32, full_precision

MIN_SHARE = 1e-3  # of the range, divided among all bins, so that no bin becomes empty


class BinCentres(nn.Module):
    """Bin centres (B, num_bins) in metres from a map (B, C, h, w), strictly increasing.

    Works in float32 at least. Raises InvalidRequest unless 0 < min_depth_m < max_depth_m.
    """

    def __init__(
        self, channels: int, num_bins: int, min_depth_m: float, max_depth_m: float
    ) -> None:
        super().__init__()
        if not 0 < min_depth_m < max_depth_m < math.inf:
            raise InvalidRequest(
                f"found depths from {min_depth_m} to {max_depth_m} m, expected 0 < min < max"
            )
        self.min_depth_m, self.max_depth_m = min_depth_m, max_depth_m
        self.hidden = nn.Linear(channels, 4 * channels)
        self.share = nn.Linear(4 * channels, num_bins)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Bin centres (B, num_bins) in metres, nearest first."""
        with full_precision(x.device.type):
            mean = at_least_float32(x).mean(dim=(2, 3))  # (B, C)
            return self._centres(self.share(F.gelu(self.hidden(mean))))

    @torch.no_grad()
    def start_even_in_log_depth(self) -> torch.Tensor:
        """Initialise the widths proportional to depth; return the centres (num_bins,) in metres."""
        num_bins = self.share.out_features
        ratio = (self.max_depth_m / self.min_depth_m) ** (1 / num_bins)
        widths = ratio ** torch.arange(num_bins, dtype=torch.float64)
        shares = widths / widths.sum() - MIN_SHARE / num_bins
        nn.init.normal_(self.share.weight, std=0.1 / math.sqrt(self.share.in_features))
        self.share.bias.copy_(shares.clamp_min(1e-9).log())
        return self._centres(self.share.bias)

    def _centres(self, share_logits: torch.Tensor) -> torch.Tensor:
        # In float64: the rounding of a long sum in float32 would be wider than the narrowest bin.
        shares = share_logits.double().softmax(dim=-1)
        shares = (1 - MIN_SHARE) * shares + MIN_SHARE / shares.shape[-1]
        widths_m = (self.max_depth_m - self.min_depth_m) * shares
        centres_m = self.min_depth_m + widths_m.cumsum(dim=-1) - widths_m / 2
        return centres_m.to(share_logits.dtype)


def expected_depth(logits: torch.Tensor, centres_m: torch.Tensor) -> torch.Tensor:
    """Expected depth (B, 1, h, w) in metres of logits (B, N, h, w) over centres (B, N)."""
    with full_precision(logits.device.type):
        probability = at_least_float32(logits).softmax(dim=1)
        return torch.einsum("bnhw,bn->bhw", probability, centres_m).unsqueeze(1)


def logits_expecting(depth_m: float, centres_m: torch.Tensor) -> torch.Tensor:
    """Logits (N,) with a given expected depth over centres c (N,) in metres: beta log c.

    beta is found by bisection, as the mean grows with it. Raises InvalidRequest for a depth outside
    the centres.
    """
    nearest, farthest = float(centres_m.min()), float(centres_m.max())
    if not nearest < depth_m < farthest:
        raise InvalidRequest(
            f"found {depth_m} m, expected one between {nearest:.3g} and {farthest:.3g} m"
        )
    centres = centres_m.double()
    low, beta, high = -100.0, 0.0, 100.0
    for _ in range(60):
        mean_m = ((beta * centres.log()).softmax(dim=0) * centres).sum()
        low, high = (beta, high) if mean_m < depth_m else (low, beta)
        beta = (low + high) / 2
    return (beta * centres.log()).to(centres_m.dtype)
