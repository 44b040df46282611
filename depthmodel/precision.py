"""Precision: contexts and casts for parts that need at least float32 under autocast."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch.backends import cudnn


def full_precision(device: str) -> AbstractContextManager[object]:
    """Disable autocast; a no-op on devices without it, such as meta."""
    if not torch.amp.is_autocast_available(device):
        return nullcontext()
    return torch.autocast(device, enabled=False)


@contextmanager
def exact_convolutions(device: str) -> Iterator[None]:
    """Disable autocast and, on CUDA, TF32 in convolutions, which is torch's default there.

    With the 10-bit mantissa of TF32, the error of a coupling's inverse would be 1e-3 for inputs of
    several tens; with float32 it is 1e-6.
    """
    with full_precision(device):
        if device != "cuda":
            yield
            return
        with cudnn.flags(
            enabled=cudnn.enabled,
            benchmark=cudnn.benchmark,
            benchmark_limit=cudnn.benchmark_limit,
            deterministic=cudnn.deterministic,
            allow_tf32=False,
        ):
            yield


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """Cast half precision to float32; keep float32 and float64."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
