"""Window cross-attention between two maps, on any grid.

Windows without a shift and with a learnt relative position bias, as in Swin (Liu et al., ICCV 2021,
section 3.2 and eq. 4). A grid that is not a multiple of the window is padded at the bottom and the
right, and padding is masked.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from nightrain.datasets.errors import InvalidRequest

BIAS_STD = 0.02  # of the untrained biases, as in Swin


class WindowCrossAttention(nn.Module):
    """Cross-attention: queries of one map (B, h, w, C), keys and values of another.

    Raises InvalidRequest where the heads do not divide C.
    """

    def __init__(self, channels: int, num_heads: int, window: int = 7) -> None:
        super().__init__()
        if channels % num_heads:
            raise InvalidRequest(
                f"found {channels} channels for {num_heads} heads, expected a multiple: change one"
            )
        self.num_heads, self.window = num_heads, window
        self.query = nn.Linear(channels, channels)
        self.key_value = nn.Linear(channels, 2 * channels)
        self.project = nn.Linear(channels, channels)
        # One number by head and offset (rows, columns), each in -(window - 1) .. window - 1.
        self.offset_bias = nn.Parameter(torch.empty(num_heads, (2 * window - 1) ** 2))
        nn.init.trunc_normal_(self.offset_bias, std=BIAS_STD)
        self.register_buffer("offset", _offsets(window), persistent=False)

    def forward(self, query: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        """Attended map (B, h, w, C): each cell of `query` attends to its window of `source`."""
        height, width = query.shape[1:3]
        q = self._heads(self.query(to_windows(query, self.window)))
        k, v = self.key_value(to_windows(source, self.window)).chunk(2, dim=-1)
        k, v = self._heads(k), self._heads(v)  # (B, windows, heads, cells, C / heads)
        # Written out: torch has no fast kernel for a learnt bias, and ONNX none for windows.
        products = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        share = (products + self._bias(height, width)).softmax(dim=-1)
        together = (share.to(v.dtype) @ v).transpose(2, 3).flatten(3)  # (B, windows, cells, C)
        return self.project(from_windows(together, self.window, (height, width)))

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        """(B, windows, cells, C) -> (B, windows, heads, cells, C / heads)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(2, 3)

    def _bias(self, height: int, width: int) -> torch.Tensor:
        """Bias added to the products: (1 or windows, heads, cells, cells)."""
        assert isinstance(self.offset, torch.Tensor)
        bias = self.offset_bias[:, self.offset][None]
        if height % self.window == 0 and width % self.window == 0:
            return bias
        there = to_windows(bias.new_ones(1, height, width, 1), self.window)[0, :, :, 0] > 0
        return bias.masked_fill(~there[:, None, None, :], float("-inf"))


def to_windows(x: torch.Tensor, window: int) -> torch.Tensor:
    """Partition (B, h, w, C) into windows (B, windows, window^2, C), row by row, zero-padded."""
    down, right = (-side % window for side in x.shape[1:3])
    padded = F.pad(x, (0, 0, 0, right, 0, down)) if down or right else x
    cut = padded.unflatten(2, (-1, window)).unflatten(1, (-1, window))  # (B, n, k, m, k, C)
    return cut.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def from_windows(x: torch.Tensor, window: int, size: tuple[int, int]) -> torch.Tensor:
    """Invert `to_windows`: the map (B, *size, C)."""
    rows = -(-size[0] // window)
    cut = x.unflatten(2, (window, window)).unflatten(1, (rows, -1))  # (B, n, m, k, k, C)
    return cut.transpose(2, 3).flatten(3, 4).flatten(1, 2)[:, : size[0], : size[1]]


def _offsets(window: int) -> torch.Tensor:
    """Index of the offset between each two cells of a window: (window^2, window^2)."""
    cells = torch.cartesian_prod(torch.arange(window), torch.arange(window))  # (cells, 2)
    between = cells[:, None] - cells[None] + window - 1
    return between[..., 0] * (2 * window - 1) + between[..., 1]
