"""ControlNet-Union in batches: attention restricted to the rows of each sample.

Its small transformer passes nn.MultiheadAttention the batch in place of the sequence, so the rows
of a batch attend to one another. With one sample, those are its guided and its unguided row, as in
training; with several, each image would depend on the other images of its batch. Here, every sample
attends to its own rows only.
"""

from typing import Any

import torch
from torch import nn


class OwnRows(nn.Module):
    """A transformer layer of the union, applied to the rows of each sample separately."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.rows_per_sample = 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Transform (R, n, C): B unguided rows, then B guided rows."""
        own = x.reshape(self.rows_per_sample, -1, x.shape[2])  # (R / B, B n, C)
        return self.layer(own).reshape(x.shape)


def keep_samples_apart(union: Any) -> None:
    """Modify a ControlNetUnionModel in place so that no sample attends to another."""
    union.transformer_layes = nn.ModuleList(OwnRows(layer) for layer in union.transformer_layes)


def set_rows_per_sample(union: Any, rows: int) -> None:
    """Set the number of rows per sample: one, or two with guidance."""
    for layer in union.transformer_layes:
        layer.rows_per_sample = rows
