"""Parts that work in single precision at least, whatever autocast says around them."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch.backends import cudnn


def full_precision(device: str) -> AbstractContextManager[object]:
    """No autocast; the meta device, on which shapes and operations are counted, has none."""
    if not torch.amp.is_autocast_available(device):
        return nullcontext()
    return torch.autocast(device, enabled=False)


@contextmanager
def exact_convolutions(device: str) -> Iterator[None]:
    """No autocast and, on CUDA, no TF32 in convolutions, which is torch's default there.

    Its 10 bits of mantissa round a recovered input elsewhere than the first one was: the inverse of
    a coupling would be off by 1e-3 of inputs of some tens, where float32 is off by 1e-6.
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
    """The same values; half precision becomes float32, float64 stays."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
