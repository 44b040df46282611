"""Dense matching of two feature maps: descriptors, cosine similarity and its sub-cell peak.

    m = P (s - mean over 5x5 of s) over its length,  s = standardise(e0) or of the cell's pixels
    c(x, k) = mean over 3x3 of <m(x), m'(x + candidate k)>
    p = softmax(c / tau);   best = argmax c;   place = vertex of the parabola through c about best
    certainty = sigmoid(10 (c(best) - 0.5)) (1 - E_p |k - best| / mean_k |k - best|)

IID-RDepth, eqs. 16 and 17 (docs/papers/iid_rdepth.md). Disparities are only a few cells, so the
position must be sub-cell. An expectation over all candidates is biased towards the middle of their
range, and one over the neighbours of the best candidate towards that candidate. The parabola is
exact where the cosine is quadratic.
"""

import math
from functools import reduce
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-6
TEMPERATURE = 0.05  # of a cosine, at the start
UNLIKE, SHARPNESS = 0.5, 10.0  # cosine at which the certainty is half, and its slope there
MIN_CURVATURE = 1e-4  # of cosines about their peak; less counts as no peak
MIN_TEXTURE = 0.01  # standard deviations of the whole map; less counts as no texture
LOCAL = 5  # side in cells of the local mean that a descriptor subtracts
BLUR = 3  # side in cells of the square over which cosines are averaged
PROFILE = 5  # number of cosines about the best one that its correction uses


class Match(NamedTuple):
    """Match of the target's cells (h, w) in the auxiliary map of the same grid."""

    shift: Tensor  # (B, 2, h, w) x and y in cells: found at x + shift
    validity: Tensor  # (B, 1, h, w) in [0, 1], 0 where nothing matches
    inverse_depth: Tensor | None  # (B, 1, h, w) in 1/m, where the alignment can know it


class Peak(NamedTuple):
    """Best of D candidates at each cell."""

    place: Tensor  # (B, 1, h, w) fractional index of the candidate
    certainty: Tensor  # (B, 1, h, w) in [0, 1]


class Descriptor(nn.Module):
    """Descriptor: unit vectors (B, width, h, w) of a map (B, C, p h, p w), p pixels along a cell.

    A cell's pixels become its channels; features have p = 1. The map is standardised by its own
    mean and deviation, which removes a change of exposure, and its local mean is subtracted:
    features encode their position in the image, which would match at no shift. The projection
    starts orthogonal, which preserves angles as well as its width allows.
    """

    def __init__(self, channels: int, width: int, pixels: int = 1) -> None:
        super().__init__()
        self.pixels = pixels
        self.project = nn.Conv2d(channels * pixels**2, width, 1, bias=False)
        nn.init.orthogonal_(self.project.weight.flatten(1))

    def forward(self, x: Tensor, part: float = 0.0) -> Tensor:
        """Unit vectors (B, width, h, w) of the cells, moved by `part` of a cell to the right.

        0 where there is no texture. Beyond the right border the last pixel is repeated.
        """
        x = F.pixel_unshuffle(_moved(_standardised(x), part * self.pixels), self.pixels)
        return F.normalize(self.project(x - local_mean(x, LOCAL)), dim=1, eps=MIN_TEXTURE)


class BestCandidate(nn.Module):
    """Best of D candidates by cosines (B, D, h, w), corrected by a network.

    The network receives the five cosines about the best one and the target's descriptor. It shifts
    the position by at most one candidate, like the refinement of StereoNet (Khamis et al., ECCV
    2018), and corrects the certainty. Its last layer starts at zero.
    """

    def __init__(self, descriptor_channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.log_temperature = nn.Parameter(torch.tensor(math.log(TEMPERATURE)))
        self.hidden = nn.Conv2d(descriptor_channels + PROFILE, hidden_channels, 3, padding=1)
        self.change = nn.Conv2d(hidden_channels, 2, 1)
        nn.init.zeros_(self.change.weight)
        assert self.change.bias is not None
        nn.init.zeros_(self.change.bias)

    def forward(self, cosines: Tensor, target: Tensor) -> Peak:
        """Best candidate at each cell of `target`'s descriptors (B, C, h, w)."""
        steps = torch.arange(PROFILE, device=cosines.device) - PROFILE // 2
        best = cosines.argmax(1, keepdim=True)
        around = (best + steps.view(1, -1, 1, 1)).clamp(0, cosines.shape[1] - 1)
        profile = cosines.gather(1, around)  # (B, PROFILE, h, w)
        hidden = F.gelu(self.hidden(torch.cat([target, profile], 1)))
        move, sure = self.change(hidden).split(1, 1)
        found = peak(cosines, self.log_temperature, sure)
        return Peak(found.place + torch.tanh(move), found.certainty)


def local_mean(x: Tensor, side: int) -> Tensor:
    """Local mean of (B, C, h, w) over `side` x `side` cells, without padding at the border."""
    ones = x.new_ones(1, 1, x.shape[2], x.shape[3])
    return _box_sum(x, side) / _box_sum(ones, side)


def peak(cosines: Tensor, log_temperature: Tensor, sure: Tensor | float = 0.0) -> Peak:
    """Best of D candidates by `cosines` (B, D, h, w); `sure` is added to the certainty's logit.

    The first and the last candidate have no parabola; their position is that of the candidate.
    """
    num = cosines.shape[1]
    best = cosines.argmax(1, keepdim=True)  # (B, 1, h, w)
    around = torch.cat([best - 1, best, best + 1], 1).clamp(0, num - 1)  # (B, 3, h, w)
    at_end = (best == 0) | (best == num - 1)
    fraction = torch.where(at_end, 0.0, vertex(cosines.gather(1, around)))
    away = (torch.arange(num, device=best.device).view(1, -1, 1, 1) - best).abs()  # (B, D, h, w)
    return Peak(best + fraction, certainty(cosines, away, best, log_temperature, sure))


def certainty(
    cosines: Tensor,
    away: Tensor,
    best: Tensor,
    log_temperature: Tensor,
    sure: Tensor | float = 0.0,
) -> Tensor:
    """Certainty (B, 1, h, w) in [0, 1] of the best candidate: its cosine times its uniqueness.

    `away` (B, D, h, w) is the distance of candidates from the best one, in any unit. 0 where all D
    are equally likely. Source: IID-RDepth, eq. 17 (docs/papers/iid_rdepth.md).
    """
    away = away.to(cosines.dtype)
    probability = (cosines / log_temperature.exp()).softmax(1)
    spread = (probability * away).sum(1, keepdim=True) / away.mean(1, keepdim=True)
    like = torch.sigmoid(SHARPNESS * (cosines.gather(1, best) - UNLIKE) + sure)
    return like * (1 - spread).clamp(min=0)


def vertex(three: Tensor) -> Tensor:
    """Vertex in [-1/2, 1/2] of the parabola through values (B, 3, h, w) at -1, 0 and 1."""
    before, at, after = three.split(1, 1)
    curvature = 2 * at - before - after
    offset = (after - before) / (2 * curvature.clamp(min=MIN_CURVATURE))
    return offset.clamp(-0.5, 0.5)


def in_frame(shift: Tensor) -> Tensor:
    """Cells with x + shift (B, 2, h, w) on the map, within half a cell: (B, 1, h, w) bool."""
    height, width = _grid(shift)
    x, y = (cells(height, width, shift) + shift).unbind(1)
    inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    return inside.unsqueeze(1)


def sample(features: Tensor, place: Tensor) -> Tensor:
    """Sample `features` (B, C, h, w) bilinearly at `place` (B, 2, h', w') in cells; 0 outside."""
    height, width = _grid(features)
    x, y = place.unbind(1)
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1)  # (B, h', w', 2)
    return F.grid_sample(features, grid, mode="bilinear", align_corners=False)


def cells(height: int, width: int, like: Tensor) -> Tensor:
    """Coordinates x, y (2, height, width) of all cells, on the device and dtype of `like`."""
    y, x = torch.meshgrid(
        torch.arange(height, device=like.device, dtype=like.dtype),
        torch.arange(width, device=like.device, dtype=like.dtype),
        indexing="ij",
    )
    return torch.stack([x, y])


def on_grid(match: Match, size: tuple[int, int]) -> Match:
    """Resample a match to a coarser grid (height, width), by means weighted by validity.

    Cells are areas, as in `resize`, so a shift scales by the ratio of the sides.
    """
    height, width = _grid(match.shift)
    if (height, width) == size:
        return match
    validity = F.adaptive_avg_pool2d(match.validity, size)
    weight = validity.clamp(min=EPS)
    ratio = match.shift.new_tensor([size[1] / width, size[0] / height]).view(1, 2, 1, 1)
    shift = F.adaptive_avg_pool2d(match.shift * match.validity, size) / weight * ratio
    inverse_depth = match.inverse_depth
    if inverse_depth is not None:
        inverse_depth = F.adaptive_avg_pool2d(inverse_depth * match.validity, size) / weight
    return Match(shift, validity, inverse_depth)


def _standardised(x: Tensor) -> Tensor:
    mean = x.mean((2, 3), keepdim=True)
    return (x - mean) / ((x - mean).square().mean((2, 3), keepdim=True) + EPS).sqrt()


def _box_sum(x: Tensor, side: int) -> Tensor:
    """Window sums by rows, then columns; avg_pool2d takes four times as long on a CPU."""
    height, width = _grid(x)
    x = F.pad(x, (side // 2,) * 4)
    x = reduce(torch.add, [x[:, :, i : i + height] for i in range(side)])
    return reduce(torch.add, [x[..., i : i + width] for i in range(side)])


def _moved(x: Tensor, pixels: float) -> Tensor:
    """Shift a map (B, C, H, W) to the left by some pixels, with the border repeated."""
    if pixels == 0:
        return x
    whole = math.floor(pixels)
    longer = F.pad(x, (0, whole + 1, 0, 0), mode="replicate")[..., whole:]
    return torch.lerp(longer[..., :-1], longer[..., 1:], pixels - whole)


def _grid(x: Tensor) -> tuple[int, int]:
    return x.shape[2], x.shape[3]
