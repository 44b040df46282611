"""Parts that work in single precision at least, whatever autocast says around them."""

from contextlib import AbstractContextManager, nullcontext

import torch


def full_precision(device: str) -> AbstractContextManager[object]:
    """No autocast; the meta device, on which shapes and operations are counted, has none."""
    if not torch.amp.is_autocast_available(device):
        return nullcontext()
    return torch.autocast(device, enabled=False)


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """The same values; half precision becomes float32, float64 stays."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
