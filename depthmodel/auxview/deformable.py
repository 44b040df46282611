"""Deformable sampling: nine points about a match, moved and weighted by a network.

    a(x) = sum_k w_k(x) e'(x + shift(x) + p_k + delta_k(x)),   p_k of a 3x3 square

IID-RDepth, eq. 21 (docs/papers/iid_rdepth.md); deformable convolution (Zhu et al., CVPR 2019, eq.
1) about a coarse alignment, as in EDVR (Wang et al. 2019), per channel. delta starts at 0 and w at
the middle point alone, so the start is the bilinear sample at the match. Offsets are bounded by
`REACH_CELLS`; larger displacements are left to the matching. Written with `grid_sample`:
torchvision's deform_conv2d takes ten times as long on a CPU, where each channel has its own filter.
"""

from functools import reduce

import torch
from torch import Tensor, nn

from nightrain.depthmodel.auxview.matching import cells, sample

POINTS = 9
REACH_CELLS = 2.0


class DeformableSampling(nn.Module):
    """Samples an auxiliary map (B, C, h, w) at shifts (B, 2, h, w) in cells; 0 outside."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.change = nn.Conv2d(2 * channels, 3 * POINTS, 1)
        nn.init.zeros_(self.change.weight)
        assert self.change.bias is not None
        nn.init.zeros_(self.change.bias)
        y, x = torch.meshgrid(torch.arange(3.0) - 1, torch.arange(3.0) - 1, indexing="ij")
        square = torch.stack([x.flatten(), y.flatten()], 1)  # (9, 2), the fifth the middle
        middle = (square.abs().sum(1) == 0).float()
        self.register_buffer("square", square.view(1, POINTS, 2, 1, 1), persistent=False)
        self.register_buffer("middle", middle.view(1, POINTS, 1, 1), persistent=False)
        self.square: Tensor
        self.middle: Tensor

    def forward(self, target: Tensor, auxiliary: Tensor, shift: Tensor) -> Tensor:
        """Auxiliary map (B, C, h, w) aligned with the target's cells."""
        height, width = target.shape[2:]
        place = cells(height, width, shift) + shift  # (B, 2, h, w)
        roughly = sample(auxiliary, place)
        moves, weights = self.change(torch.cat([target, roughly], 1)).split([2 * POINTS, POINTS], 1)
        moves = REACH_CELLS * torch.tanh(moves.unflatten(1, (POINTS, 2)))  # (B, 9, 2, h, w)
        places = place.unsqueeze(1) + self.square + moves
        weights = self.middle + weights  # (B, 9, h, w)
        each = (
            sample(auxiliary, places[:, k]) * weights[:, k : k + 1] for k in range(POINTS)
        )  # one at a time, which stays in the processor's cache
        return reduce(torch.add, each)  # (B, C, h, w)
