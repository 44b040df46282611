"""Between host and device without waiting: a GPU that waits for the host works on nothing."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


def to_device(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Values on a device; from a host to a GPU behind the work it has, without waiting for it."""
    if device.type != "cuda" or values.device.type != "cpu":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)  # pageable memory would be waited for


@dataclass(frozen=True, slots=True)
class HostCopy:
    """Values on their way to the host."""

    values: torch.Tensor  # on the host, and not there yet before `wait`
    arrived: torch.cuda.Event | None  # None: they are there

    @classmethod
    def of(cls, values: torch.Tensor) -> "HostCopy":
        """Begin to copy values behind the work that computes them."""
        if values.device.type != "cuda":
            return cls(values.cpu(), None)
        host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        host.copy_(values, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        return cls(host, arrived)

    def wait(self) -> torch.Tensor:
        """The values, once they are there."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return self.values


@contextmanager
def beside_other_work(device: torch.device) -> Iterator[None]:
    """Run a block's work beside what a GPU is doing, not behind it, and wait for its end.

    What the block makes must be kept until the work that reads it is done: its memory belongs to
    another stream and would be given out again at once.
    """
    if device.type != "cuda":
        yield
        return
    stream = _side_stream(device)
    with torch.cuda.stream(stream):
        yield
    stream.synchronize()


@functools.cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """Always the same one: what one stream has freed is not given to another."""
    return torch.cuda.Stream(device)
