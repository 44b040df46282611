"""A batch on its way from a worker: one block of bytes, pictures still as bytes.

Workers hand tensors over through shared memory. One block instead of a file for each tensor, and a
quarter of the bytes for the pictures, cost less than decoding; a dict of float tensors costs more.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

Values = dict[str, np.ndarray | str]  # of one sample: pictures are (3, H, W) uint8
Tensors = dict[str, torch.Tensor]


class Field(NamedTuple):
    """Where the values of one name lie in a block."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]  # batch first
    offset: int
    num_bytes: int


class Packed(NamedTuple):
    """A batch as one block of bytes and its description."""

    block: torch.Tensor  # (num_bytes,) uint8
    fields: list[Field]
    names: dict[str, list[str]]  # what is text


def pack(samples: Sequence[Values]) -> Packed:
    """Put the values of some samples behind one another, name by name."""
    fields, end = [], 0
    for name, value in samples[0].items():
        if isinstance(value, np.ndarray):
            dtype = torch.from_numpy(value).dtype
            num_bytes = value.nbytes * len(samples)
            fields.append(Field(name, dtype, (len(samples), *value.shape), end, num_bytes))
            end += -(-num_bytes // 8) * 8  # aligned for any type
    block = torch.empty(end, dtype=torch.uint8)
    batch = Packed(block, fields, {})
    for name, stacked in _views(batch).items():
        for i, sample in enumerate(samples):
            stacked.numpy()[i] = sample[name]
    texts = [name for name, value in samples[0].items() if isinstance(value, str)]
    return batch._replace(names={name: [str(s[name]) for s in samples] for name in texts})


def unpack(batch: Packed) -> dict[str, torch.Tensor | list[str]]:
    """The batch as a dict; pictures become float32 in [0, 1]."""
    return {**{name: as_float(v) for name, v in _views(batch).items()}, **batch.names}


def as_float(values: torch.Tensor) -> torch.Tensor:
    """Bytes (..., 3, H, W) as float32 in [0, 1]; anything else in memory of its own."""
    return values * (1 / 255) if values.dtype == torch.uint8 else values.clone()


def _views(batch: Packed) -> Tensors:
    return {
        f.name: batch.block[f.offset : f.offset + f.num_bytes].view(f.dtype).view(f.shape)
        for f in batch.fields
    }
