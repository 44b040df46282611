"""GPUs of this machine: which may be used, their identity, and their side streams."""

import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

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


def free_cached_memory() -> None:
    """Return the memory that torch keeps cached to the GPU; does nothing before torch is used."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def on_side_stream(device: Any) -> Iterator[None]:
    """Run a block on a GPU's side stream, in parallel with its other work, and wait for it.

    Keep the block's results until the work that reads them is done: their memory belongs to the
    side stream, which would otherwise reuse it at once. On a CPU, the block just runs.
    """
    import torch

    place = torch.device(device)
    if place.type != "cuda":
        yield
        return
    number = torch.cuda.current_device() if place.index is None else place.index
    stream = _side_stream(number)
    with torch.cuda.stream(stream):
        yield
    stream.synchronize()


@functools.cache
def _side_stream(number: int) -> Any:
    """Return the one side stream of a device: streams do not share freed memory."""
    import torch

    return torch.cuda.Stream(number)


def _count() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0
