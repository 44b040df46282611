"""GPUs of this machine: those that CUDA_VISIBLE_DEVICES names, or all, and their identity."""

import os
from collections.abc import Callable, Mapping

VISIBLE = "CUDA_VISIBLE_DEVICES"


def visible_devices(
    environment: Mapping[str, str] = os.environ, count: Callable[[], int] | None = None
) -> tuple[str, ...]:
    """Return the names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES has them.

    Names are numbers, UUIDs or MIG instances. As CUDA does, the list ends before the first negative
    number, and a repeated name makes it empty. `count` returns the number of GPUs that can be used;
    by default torch counts them, without starting CUDA in this process.
    """
    given = environment.get(VISIBLE)
    if given is None:
        return tuple(str(number) for number in range((count or _count)()))
    names: list[str] = []
    for name in map(str.strip, given.split(",")):
        if not name or name.startswith("-"):
            break
        names.append(name)
    if len(set(names)) < len(names):
        return ()
    return tuple(names[: (count or _count)()])  # torch counts those of the list that exist


def use_only(device: str) -> None:
    """Make a GPU the only one of this process; CUDA must not be in use yet."""
    os.environ[VISIBLE] = device


def gpu_id(device: str = "cuda") -> str:
    """Identity of a GPU for its lock, the same in every process; "" where torch has none."""
    import torch

    if not torch.cuda.is_available():
        return ""
    return f"cuda {torch.cuda.get_device_properties(torch.device(device)).uuid}"


def _count() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0
