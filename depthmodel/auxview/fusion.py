"""Gated fusion of an aligned auxiliary map with the target's, weighted by the match's validity.

    a   = V Attention(q = e, k = v = aligned)                    in windows, keys weighed by V
    g   = sigmoid(G [e, a, |e - a|, Sobel(e), evidence])
    f   = F2 gelu(F1 [a, V e, evidence])                         no bias: 0 where V is 0
    out = e + gamma g f                                          gamma per channel, starts at 0

evidence = V (1, s s0, log(s s0), log(s / s_mono)): a warped map shows likeness, not distance; the
match's inverse depth s adds distance, also relative to the monocular one. IID-RDepth, eqs. 22 and
23 (docs/papers/iid_rdepth.md).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nightrain.depthmodel.auxview.matching import Match
from nightrain.depthmodel.decoders.base import resize
from nightrain.depthmodel.decoders.window_attention import from_windows, to_windows

EVIDENCE_CHANNELS = 4
SCALE_M = 10.0  # s0; evidence is of the size of one
MIN_INVERSE_DEPTH, MAX_INVERSE_DEPTH = 0.01, 1.0  # 1/m, of evidence: 100 m to 1 m
UNSEEN = -1e4  # added to the attention's logits


class GatedFusion(nn.Module):
    """Fuses target and aligned map (B, C, h, w); returns the target's values where V is 0."""

    def __init__(self, channels: int, attention_channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.attend = ValidWindowAttention(channels, attention_channels, heads, window)
        self.gate = nn.Conv2d(4 * channels + EVIDENCE_CHANNELS, channels, 1)
        self.hidden = nn.Conv2d(2 * channels + EVIDENCE_CHANNELS, channels, 1, bias=False)
        self.residual = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(channels))

    def forward(self, e: Tensor, aligned: Tensor, validity: Tensor, evidence: Tensor) -> Tensor:
        """Fuse under `validity` (B, 1, h, w) and `evidence` (B, 4, h, w)."""
        a = validity * self.attend(e, aligned, validity)
        gate = torch.sigmoid(self.gate(torch.cat([e, a, (e - a).abs(), sobel(e), evidence], 1)))
        hidden = F.gelu(self.hidden(torch.cat([a, validity * e, evidence], 1)))
        added = self.gamma.view(-1, 1, 1) * gate * self.residual(hidden)
        return e + added.to(e.dtype)


class ValidWindowAttention(nn.Module):
    """Window attention from target cells to the aligned cells of the same window.

    A bias is learnt for each pair of positions. Maps are padded to whole windows; log V is added to
    the logits, so padded and invalid cells are masked.
    """

    def __init__(self, channels: int, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.window, self.heads = window, heads
        self.query = nn.Conv2d(channels, width, 1, bias=False)
        self.key = nn.Conv2d(channels, width, 1, bias=False)
        self.value = nn.Conv2d(channels, width, 1, bias=False)
        self.out = nn.Conv2d(width, channels, 1, bias=False)
        self.place = nn.Parameter(torch.zeros(heads, window**2, window**2))

    def forward(self, target: Tensor, aligned: Tensor, validity: Tensor) -> Tensor:
        """Attended map (B, C, h, w); `validity` (B, 1, h, w) in [0, 1] is the aligned map's."""
        q, k, v = (
            self._windows(project(x))
            for project, x in (
                (self.query, target),
                (self.key, aligned),
                (self.value, aligned),
            )
        )  # (B, windows, heads, cells, width / heads)
        seen = self._windows(validity.expand(-1, self.heads, -1, -1)).transpose(-1, -2)
        bias = self.place + torch.where(seen > 0, seen.clamp(min=1e-4).log(), UNSEEN)
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        return self.out(self._together(found, target.shape[2], target.shape[3]))

    def _windows(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, windows, heads, window^2, C / heads), 0 beyond the border."""
        cells = to_windows(x.permute(0, 2, 3, 1), self.window)  # (B, windows, window^2, C)
        return cells.unflatten(-1, (self.heads, -1)).transpose(2, 3)

    def _together(self, x: Tensor, height: int, width: int) -> Tensor:
        """Invert `_windows`: (B, C, height, width)."""
        cells = x.transpose(2, 3).flatten(3)  # (B, windows, window^2, C)
        return from_windows(cells, self.window, (height, width)).permute(0, 3, 1, 2)


def evidence_of(match: Match, monocular: Tensor | None) -> Tensor:
    """Evidence (B, 4, h, w) of a match for inverse depth, 0 where it is not valid.

    `monocular` (B, 1, H, W) in 1/m is compared where it is given. A match without inverse depth has
    its validity alone as evidence. Source: IID-RDepth, eq. 23 (docs/papers/iid_rdepth.md).
    """
    known = torch.ones_like(match.validity)
    if match.inverse_depth is None:
        return match.validity * F.pad(known, (0, 0, 0, 0, 0, EVIDENCE_CHANNELS - 1))
    inverse_depth = match.inverse_depth.clamp(MIN_INVERSE_DEPTH, MAX_INVERSE_DEPTH)
    scaled = inverse_depth * SCALE_M
    off = torch.zeros_like(scaled)
    if monocular is not None:
        size = (scaled.shape[2], scaled.shape[3])
        there = resize(monocular.detach().to(scaled.dtype), size)
        off = (inverse_depth / there.clamp(MIN_INVERSE_DEPTH, MAX_INVERSE_DEPTH)).log()
    return match.validity * torch.cat([known, scaled, scaled.log(), off], 1)


def sobel(x: Tensor) -> Tensor:
    """Gradient magnitude (B, C, h, w) by Sobel filters / 8, with the border repeated."""
    p = F.pad(x, (1, 1, 1, 1), mode="replicate")
    smooth_y = p[:, :, :-2] + 2 * p[:, :, 1:-1] + p[:, :, 2:]
    smooth_x = p[..., :-2] + 2 * p[..., 1:-1] + p[..., 2:]
    along_x = smooth_y[..., 2:] - smooth_y[..., :-2]
    along_y = smooth_x[:, :, 2:] - smooth_x[:, :, :-2]
    return (along_x.square() + along_y.square() + 1e-12).sqrt() / 8
