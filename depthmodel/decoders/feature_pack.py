"""Feature packing: the two coarser maps of an encoder as one tensor, without loss.

A pyramid's maps at 1/16 and 1/32 are brought to the grid of 1/8 by pixel shuffle (Shi et al., CVPR
2016), which only moves values. A ViT's maps share one grid already. IID-RDepth, eq. 11
(docs/papers/iid_rdepth.md).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nightrain.datasets.errors import InvalidRequest

FACTORS = (2, 4)  # from 1/16 and from 1/32 to 1/8


class FeaturePack(nn.Module):
    """Packs (e2, e3) to F (B, C, h, w): a permutation of the values, with zeros where grids differ.

    `channels` is C: C2/4 + C3/16 of a pyramid, C2 + C3 on `one_grid`. An image whose sides are
    not multiples of 32 gives grids of different size; the smaller is padded with zeros at the
    bottom and the right. Raises InvalidRequest for a pyramid whose channels 4 and 16 do not divide.
    """

    def __init__(self, channels: tuple[int, int], *, one_grid: bool) -> None:
        super().__init__()
        self.factors = (1, 1) if one_grid else FACTORS
        for level, (wide, factor) in enumerate(zip(channels, self.factors, strict=True), start=2):
            if wide % factor**2:
                raise InvalidRequest(
                    f"found {wide} channels at encoder level {level}, expected a multiple of "
                    f"{factor**2} for a pixel shuffle by {factor}: use an encoder of other widths"
                )
        self.level_channels = channels
        self._split = channels[0] // self.factors[0] ** 2
        self.channels = self._split + channels[1] // self.factors[1] ** 2

    def forward(self, e2: Tensor, e3: Tensor) -> Tensor:
        """Pack two maps to F (B, C, h, w) on the larger of the two grids; raises InvalidRequest."""
        self._check((e2, e3))
        maps = [F.pixel_shuffle(e, s) for e, s in zip((e2, e3), self.factors, strict=True)]
        height, width = (max(m.shape[side] for m in maps) for side in (2, 3))
        return torch.cat([_padded(m, height, width) for m in maps], dim=1)

    def unpack(self, packed: Tensor, like: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Unpack F (B, C, h, w) to maps (e2, e3) of the sizes of `like`; raises InvalidRequest."""
        self._check(like)
        heights, widths = (
            [e.shape[side] * s for e, s in zip(like, self.factors, strict=True)] for side in (2, 3)
        )
        expected = (like[0].shape[0], self.channels, max(heights), max(widths))
        if packed.shape != expected:
            raise InvalidRequest(
                f"found packed features of shape {tuple(packed.shape)}, expected {expected} for "
                f"maps of {tuple(like[0].shape)} and {tuple(like[1].shape)}"
            )
        first, second = packed.split((self._split, self.channels - self._split), dim=1)
        return (
            F.pixel_unshuffle(first[:, :, : heights[0], : widths[0]], self.factors[0]),
            F.pixel_unshuffle(second[:, :, : heights[1], : widths[1]], self.factors[1]),
        )

    def _check(self, levels: tuple[Tensor, Tensor]) -> None:
        found = tuple(e.shape[1] if e.ndim == 4 else None for e in levels)
        if found != self.level_channels:
            raise InvalidRequest(
                f"found maps of shapes {[tuple(e.shape) for e in levels]}, expected (B, C, h, w) "
                f"with C = {self.level_channels}"
            )
        if self.factors == (1, 1) and levels[0].shape[2:] != levels[1].shape[2:]:
            raise InvalidRequest(
                f"found grids {tuple(levels[0].shape[2:])} and {tuple(levels[1].shape[2:])}, "
                "expected one: a pyramid's maps need one_grid=False"
            )


def _padded(x: Tensor, height: int, width: int) -> Tensor:
    """Pad (B, C, h, w) with zeros at the bottom and right to (B, C, height, width)."""
    return F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2]))
