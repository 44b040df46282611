"""Window search: displacements between two views of unknown pose.

    coarse grid: d_W  = argmax_d mean over x in W of <m(x), m'(x + d)>     d within a square
    fine grid:   d(x) = argmax_e <m(x), m'(x + 2 d_W + e)> averaged 3x3    e within a smaller one

IID-RDepth, eq. 20 (docs/papers/iid_rdepth.md). A cell's match is fractional: the vertices of
two parabolas, along x and along y.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nightrain.depthmodel.auxview.matching import (
    BLUR,
    TEMPERATURE,
    Match,
    cells,
    certainty,
    in_frame,
    local_mean,
    sample,
    vertex,
)
from nightrain.depthmodel.config import AuxViewConfig


class WindowSearch(nn.Module):
    """Searches displacements between descriptor maps (B, C, h, w), on the grid of e1 first."""

    def __init__(self, config: AuxViewConfig) -> None:
        super().__init__()
        self.window = config.window_cells
        self.radius = config.search_radius_cells
        self.refine_radius = config.refine_radius_cells
        self.log_temperature = nn.Parameter(torch.tensor(math.log(TEMPERATURE)))

    def forward(self, target: Tensor, other: Tensor, coarse: tuple[int, int]) -> Match:
        """Match two maps of unit vectors; `coarse` (height, width) is the grid of e1."""
        height, width = target.shape[2:]
        base = displacements(
            _pooled(target, coarse), _pooled(other, coarse), self.window, self.radius
        )
        ratio = base.new_tensor([width / coarse[1], height / coarse[0]]).view(1, 2, 1, 1)
        base = F.interpolate(base, size=(height, width), mode="nearest") * ratio  # (B, 2, h, w)
        start = cells(height, width, target) + base
        offsets = square(self.refine_radius, target)  # (n * n, 2)
        cosines = [(target * sample(other, start + e.view(2, 1, 1))).sum(1) for e in offsets]
        fine, sure = self._peak(local_mean(torch.stack(cosines, 1), BLUR))
        shift = base + fine
        return Match(shift, sure * in_frame(shift), None)

    def _peak(self, cosines: Tensor) -> tuple[Tensor, Tensor]:
        """Offset (B, 2, h, w) of the best of a square of candidates and its certainty."""
        side = 2 * self.refine_radius + 1
        best = cosines.argmax(1, keepdim=True)  # of (B, side * side, h, w)
        x, y = best % side, best // side
        fractions = [
            torch.where((at == 0) | (at == side - 1), 0.0, vertex(_three(cosines, best, step)))
            for at, step in ((x, 1), (y, side))
        ]
        offset = torch.cat([x + fractions[0], y + fractions[1]], 1) - self.refine_radius
        steps = torch.arange(side, device=x.device).view(1, -1, 1, 1)
        away = (steps - y).abs().unsqueeze(2) + (steps - x).abs().unsqueeze(1)
        away = away.flatten(1, 2)  # (B, side * side, h, w)
        return offset, certainty(cosines, away, best, self.log_temperature)


@torch.no_grad()
def displacements(target: Tensor, other: Tensor, window: int, radius: int) -> Tensor:
    """Integer displacements x, y (B, 2, h, w) in cells, one per window of maps of unit vectors.

    Windows tile the map from its corner; those at the right and bottom may be smaller. Cells
    outside the other map have cosine 0. Ties go to the smallest displacement.
    """
    height, width = target.shape[2:]
    padded = F.pad(other, (radius,) * 4)
    candidates = square(radius, target)  # (n, 2)
    candidates = candidates[candidates.square().sum(1).argsort(stable=True)]
    found: list[Tensor] = []
    for dx, dy in candidates.int().tolist():
        there = padded[:, :, radius + dy :, radius + dx :][:, :, :height, :width]
        likeness = (target * there).sum(1, keepdim=True)
        found.append(F.avg_pool2d(likeness, window, ceil_mode=True, count_include_pad=False))
    best = torch.cat(found, 1).argmax(1)  # (B, windows down, windows across)
    of_windows = candidates[best].permute(0, 3, 1, 2)
    tiled = of_windows.repeat_interleave(window, 2).repeat_interleave(window, 3)
    return tiled[:, :, :height, :width]


def square(radius: int, like: Tensor) -> Tensor:
    """Offsets (x, y) of a square about 0, row by row: ((2 radius + 1)^2, 2)."""
    side = 2 * radius + 1
    return cells(side, side, like).flatten(1).T - radius


def _three(cosines: Tensor, best: Tensor, step: int) -> Tensor:
    """Cosines (B, 3, h, w) at the best candidate and `step` before and after it."""
    around = torch.cat([best - step, best, best + step], 1)
    return cosines.gather(1, around.clamp(0, cosines.shape[1] - 1))


def _pooled(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.normalize(F.adaptive_avg_pool2d(x, size), dim=1, eps=1e-6)
