"""PixelFormer's first queries: the coarsest map together with its means over large cells.

Pyramid pooling (Zhao et al., CVPR 2017) as in PixelFormer (Agarwal and Arora, WACV 2023). Its norms
are group norms here and not batch norms, so that eval and frozen parts have no second state.
"""

import torch
from torch import nn
from torch.nn import functional as F

from nightrain.depthmodel.decoders.dpt import resize

POOLED = (1, 2, 3, 6)  # cells along a side


class QueryInitialiser(nn.Module):
    """The coarsest encoder map (B, C, h, w) -> queries (B, width, h, w), of any grid."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, width, 1, bias=False), nn.GroupNorm(1, width), nn.ReLU()
            )
            for _ in POOLED
        )
        self.merge = nn.Conv2d(channels + len(POOLED) * width, width, 3, padding=1)

    def forward(self, coarsest: torch.Tensor) -> torch.Tensor:
        """Queries on the same grid."""
        size = (coarsest.shape[2], coarsest.shape[3])
        context = [
            resize(branch(F.adaptive_avg_pool2d(coarsest, cells)), size)
            for branch, cells in zip(self.branches, POOLED, strict=True)
        ]
        return self.merge(torch.cat((coarsest, *context), dim=1))
