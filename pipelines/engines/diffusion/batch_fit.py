"""Batches that fit into memory: probe the size before a run, halve a batch that does not fit."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


def largest_that_fits(run: Callable[[int], object], limit: int) -> int:
    """Halve a batch size from `limit` down until `run(size)` fits into memory.

    Raises torch.OutOfMemoryError if not even one fits.
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
    Raises torch.OutOfMemoryError if not even one fits.
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
    except torch.OutOfMemoryError:
        if size == 1:
            raise
    # Outside the handler, because the exception keeps the tensors of the failed batch alive.
    _free()
    return run_padded(items, (size + 1) // 2, run)


def _fits(run: Callable[[int], object], size: int, *, last: bool) -> bool:
    try:
        run(size)
        return True
    except torch.OutOfMemoryError:
        if last:
            raise
    _free()
    return False


def _free() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
