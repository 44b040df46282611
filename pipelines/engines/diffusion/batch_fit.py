"""Batches that fit into memory: probe the size before a run, halve a batch that does not fit."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch

from nightrain.pipelines.runs.device_errors import is_out_of_memory

MARGIN = 0.1  # share of a GPU's memory that a probed batch leaves free

T = TypeVar("T")
R = TypeVar("R")


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


def run_padded(
    items: Sequence[T], size: int, run: Callable[[list[T]], Sequence[R]]
) -> list[tuple[R, int]]:
    """Run items in batches of exactly `size`, padded with the last item: (result, size) each.

    A batch that runs out of memory is run again at half the size; its results record that size.
    Raises what `run` raises if not even one fits.
    """
    results: list[tuple[R, int]] = []
    for begin in range(0, len(items), size):
        results += _run_or_halve(list(items[begin : begin + size]), size, run)
    return results


def _run_or_halve(
    items: list[T], size: int, run: Callable[[list[T]], Sequence[R]]
) -> list[tuple[R, int]]:
    padded = items + [items[-1]] * (size - len(items))
    try:
        return [(result, size) for result in run(padded)[: len(items)]]
    except Exception as error:
        if size == 1 or not is_out_of_memory(error):
            raise
    # Outside the handler, because the exception keeps the tensors of the failed batch alive.
    _free()
    return run_padded(items, (size + 1) // 2, run)


def _fits(run: Callable[[int], object], size: int, *, last: bool) -> bool:
    try:
        run(size)
        return True
    except Exception as error:
        if last or not is_out_of_memory(error):
            raise
    _free()
    return False


def _free() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
