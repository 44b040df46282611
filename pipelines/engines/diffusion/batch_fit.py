"""Batches that fit into memory: probe the size before a run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from nightrain.pipelines.runs.device_errors import is_out_of_memory
from nightrain.pipelines.runs.devices import free_cached_memory

MARGIN = 0.1  # share of a GPU's memory that a probed batch leaves free


@contextmanager
def margin_kept(device: torch.device) -> Iterator[None]:
    """Leave a share of a GPU's memory free within the block: what goes beyond runs out of memory.

    Later batches need a little more than a probed one: fragments, the next batch's inputs, images
    on their way to the host. What other processes hold does not count as free.
    """
    if device.type != "cuda":
        yield
        return
    free, total = torch.cuda.mem_get_info(device)
    limit = torch.cuda.memory_reserved(device) + free - MARGIN * total
    torch.cuda.set_per_process_memory_fraction(min(1.0, max(0.0, limit / total)), device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def largest_that_fits(run: Callable[[int], object], limit: int) -> int:
    """Halve a batch size from `limit` down until `run(size)` fits into memory.

    Raises what `run` raises if not even one fits.
    """
    size = limit
    while not _fits(run, size, last=size == 1):
        size //= 2
    return size


def _fits(run: Callable[[int], object], size: int, *, last: bool) -> bool:
    try:
        run(size)
        return True
    except Exception as error:
        if last or not is_out_of_memory(error):
            raise
    free_cached_memory()
    return False
