"""Packed batches: one block of bytes per batch, in memory that workers share with the loader.

Workers write into memory that was shared once, one slot after the other. Sharing new memory for
every batch (a file and its pages each time) would cost half as much as decoding.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeGuard

import cv2
import numpy as np
import torch
from torch.utils.data import get_worker_info

Values = dict[str, np.ndarray | str]  # one sample's values; images are (H, W, 3) uint8


class Field(NamedTuple):
    """Position and type of one field's values in a block."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]  # batch first; images (B, 3, H, W)
    offset: int
    num_bytes: int


class Packed(NamedTuple):
    """A batch as one block of bytes and its description."""

    block: torch.Tensor | None  # (num_bytes,) uint8; None: it is in a slot of its worker
    fields: list[Field]
    names: dict[str, list[str]]  # text values by name
    slot: tuple[int, int] = (0, 0)  # worker, slot number


class Slots:
    """Memory (workers, slots, num_bytes) that a loader shares with its workers.

    A worker has at most one batch in each of its slots: it gets no further task until one of its
    earlier batches has been taken out, and by then `unpack` has copied the previous one.
    """

    def __init__(self, num_workers: int, slots_of_each: int, num_bytes: int) -> None:
        storage = torch.UntypedStorage._new_shared(num_workers * slots_of_each * num_bytes)
        memory = torch.empty(0, dtype=torch.uint8).set_(storage)
        self.memory = memory.view(num_workers, slots_of_each, num_bytes)
        self._next = 0  # each worker has a copy of this object

    def take(self, worker: int) -> tuple[int, int]:
        """Return a worker's next slot: the one taken longest ago."""
        slot = self._next
        self._next = (slot + 1) % self.memory.shape[1]
        return worker, slot


def pack(samples: Sequence[Values], slots: Slots | None = None) -> Packed:
    """Concatenate samples field by field; floats become float32.

    A worker writes to its next slot; other processes, and batches that do not fit, use a new block.
    """
    fields, worker = fields_of(samples[0], len(samples)), get_worker_info()
    num_bytes = num_bytes_of(fields)
    texts = [name for name, value in samples[0].items() if isinstance(value, str)]
    names = {name: [str(s[name]) for s in samples] for name in texts}
    if slots is None or worker is None or num_bytes > slots.memory.shape[2]:
        block = torch.empty(num_bytes, dtype=torch.uint8)
        _write(block.numpy(), fields, samples)
        return Packed(block, fields, names)
    slot = slots.take(worker.id)
    _write(slots.memory[slot].numpy(), fields, samples)
    return Packed(None, fields, names, slot)


def unpack(
    batch: Packed, slots: Slots | None = None, pin_memory: bool = False
) -> dict[str, torch.Tensor | list[str]]:
    """Return the batch as a dict: views of one block, with images (B, 3, H, W) uint8, and texts."""
    block = batch.block
    if block is None:
        assert slots is not None
        num_bytes = num_bytes_of(batch.fields)
        block = torch.empty(num_bytes, dtype=torch.uint8, pin_memory=pin_memory)
        block.copy_(slots.memory[batch.slot][:num_bytes])
    views = {
        f.name: block[f.offset : f.offset + f.num_bytes].view(f.dtype).view(f.shape)
        for f in batch.fields
    }
    return {**views, **batch.names}


def as_float(values: torch.Tensor) -> torch.Tensor:
    """Convert images (..., 3, H, W) uint8 to float32 in [0, 1]; return other tensors unchanged."""
    return values * (1 / 255) if values.dtype == torch.uint8 else values


def fields_of(sample: Values, batch_size: int) -> list[Field]:
    """Positions of the fields of a batch of such samples."""
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


def num_bytes_of(fields: Sequence[Field]) -> int:
    """Number of bytes of a block."""
    return fields[-1].offset + fields[-1].num_bytes


def _write(memory: np.ndarray, fields: Sequence[Field], samples: Sequence[Values]) -> None:
    for field in fields:
        place = memory[field.offset : field.offset + field.num_bytes]
        stacked = place.view(_AS_NUMPY[field.dtype]).reshape(field.shape)
        for i, sample in enumerate(samples):
            value = sample[field.name]
            if _is_picture(value):
                _put_planes(stacked[i], value)
            else:
                stacked[i] = value


def _is_picture(value: np.ndarray | str) -> TypeGuard[np.ndarray]:
    return isinstance(value, np.ndarray) and value.dtype == np.uint8


def _put_planes(planes: np.ndarray, picture: np.ndarray) -> None:
    """Write an image (H, W, 3) as (3, H, W) into place."""
    if planes.shape[1:] != picture.shape[:2]:  # OpenCV would silently write elsewhere
        raise ValueError(
            f"found an image of shape {picture.shape}; expected {planes.shape[1:]}, as in the batch"
        )
    cv2.split(picture, list(planes))
