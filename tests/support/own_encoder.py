"""A tiny encoder as a user writes one, for the tests of parts from other packages."""

import torch
from torch import nn

from nightrain.depthmodel.network.encoder import Encoder


class Pyramid(Encoder):
    """Four strided convolutions."""

    name = "scratch"

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.channels = (width, width, 4 * width, 16 * width)
        strides, before = (4, 2, 2, 2), 3
        self.stages = nn.ModuleList()
        for channels, stride in zip(self.channels, strides, strict=True):
            self.stages.append(nn.Conv2d(before, channels, stride, stride=stride))
            before = channels

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        maps = []
        for stage in self.stages:
            image = stage(image).relu()
            maps.append(image)
        return tuple(maps)
