"""A batch on its way from a worker: one block of bytes, pictures still as bytes.

Workers hand tensors over through shared memory. One block instead of a file for each tensor, and a
quarter of the bytes for the pictures, cost less than decoding; a dict of float tensors costs more.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeGuard

import cv2
import numpy as np
import torch
from torch.utils.data import get_worker_info

Values = dict[str, np.ndarray | str]  # of one sample: pictures are (H, W, 3) uint8


class Field(NamedTuple):
    """Where the values of one name lie in a block."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]  # batch first; pictures (B, 3, H, W)
    offset: int
    num_bytes: int


class Packed(NamedTuple):
    """A batch as one block of bytes and its description."""

    block: torch.Tensor  # (num_bytes,) uint8
    fields: list[Field]
    names: dict[str, list[str]]  # what is text


def pack(samples: Sequence[Values]) -> Packed:
    """Put the values of some samples behind one another, name by name; floats become float32."""
    fields = _fields(samples[0], len(samples))
    num_bytes = fields[-1].offset + fields[-1].num_bytes
    block = _shared(num_bytes) if get_worker_info() else torch.empty(num_bytes, dtype=torch.uint8)
    memory = block.numpy()
    for field in fields:
        place = memory[field.offset : field.offset + field.num_bytes]
        stacked = place.view(_AS_NUMPY[field.dtype]).reshape(field.shape)
        for i, sample in enumerate(samples):
            value = sample[field.name]
            if _is_picture(value):
                _put_planes(stacked[i], value)
            else:
                stacked[i] = value
    texts = [name for name, value in samples[0].items() if isinstance(value, str)]
    return Packed(block, fields, {name: [str(s[name]) for s in samples] for name in texts})


def unpack(batch: Packed) -> dict[str, torch.Tensor | list[str]]:
    """The batch as a dict of views of its block, pictures (B, 3, H, W) uint8, and of texts."""
    views = {
        f.name: batch.block[f.offset : f.offset + f.num_bytes].view(f.dtype).view(f.shape)
        for f in batch.fields
    }
    return {**views, **batch.names}


def as_float(values: torch.Tensor) -> torch.Tensor:
    """Bytes of pictures (..., 3, H, W) as float32 in [0, 1]; anything else as it is."""
    return values * (1 / 255) if values.dtype == torch.uint8 else values


def _fields(sample: Values, batch_size: int) -> list[Field]:
    fields, end = [], 0
    for name, value in sample.items():
        if isinstance(value, np.ndarray):
            dtype = torch.float32 if value.dtype.kind == "f" else torch.from_numpy(value).dtype
            each = (3, *value.shape[:2]) if _is_picture(value) else value.shape
            num_bytes = batch_size * int(np.prod(each)) * dtype.itemsize
            fields.append(Field(name, dtype, (batch_size, *each), end, num_bytes))
            end += -(-num_bytes // 8) * 8  # aligned for any type
    return fields


_AS_NUMPY = {
    torch.uint8: np.uint8,
    torch.float32: np.float32,
    torch.int64: np.int64,
    torch.bool: np.bool_,
}


def _shared(num_bytes: int) -> torch.Tensor:
    """Memory (num_bytes,) that another process can map: what lies elsewhere is copied there."""
    return torch.empty(0, dtype=torch.uint8).set_(torch.UntypedStorage._new_shared(num_bytes))


def _is_picture(value: np.ndarray | str) -> TypeGuard[np.ndarray]:
    return isinstance(value, np.ndarray) and value.dtype == np.uint8


def _put_planes(planes: np.ndarray, picture: np.ndarray) -> None:
    """Write a picture (H, W, 3) as (3, H, W) into place."""
    if planes.shape[1:] != picture.shape[:2]:  # OpenCV would write elsewhere and say nothing
        raise ValueError(f"a picture of {picture.shape} among others of {planes.shape}")
    cv2.split(picture, list(planes))
