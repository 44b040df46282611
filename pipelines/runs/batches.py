"""Batches: split items into batches, fit them into memory, and isolate the item at fault."""

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from nightrain.datasets.errors import (
    DamagedInput,
    DiskFull,
    InvalidRequest,
    Reason,
    RunFailure,
)
from nightrain.datasets.registry import one_line
from nightrain.pipelines.runs.device_errors import (
    device_lost_words,
    is_device_lost,
    is_out_of_memory,
)
from nightrain.pipelines.runs.devices import free_cached_memory

T = TypeVar("T")
Result = TypeVar("Result")

# These would fail every other item as well, so they end the whole run.
ENDS_THE_RUN = (InvalidRequest, RunFailure, DiskFull)
# Reasons of rows for which the engine or model may be at fault, rather than the frame.
ENGINE_FAULTS = (Reason.BAD_OUTPUT, Reason.ENGINE_ERROR)
# Addresses, and ids of frames and samples (datasets/ids.py). A number without letters is no id.
_IDENTITIES = re.compile(r"0x[0-9a-f]+|\b(?=[0-9]*[a-f])[0-9a-f]{20}\b")


def raise_if_it_ends_the_run(error: Exception) -> None:
    """Re-raise an error that every other item would meet as well; a lost device as RunFailure."""
    if isinstance(error, ENDS_THE_RUN):
        raise error
    if is_device_lost(error):
        raise RunFailure(device_lost_words(error)) from error


def in_batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of `size` items; the last may be shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def run_padded(
    items: Sequence[T], size: int, run: Callable[[list[T]], Sequence[Result]]
) -> list[tuple[Result, int]]:
    """Run items in batches of exactly `size`, padded with the last item: (result, size) each.

    A batch that runs out of memory is run again at half the size; its results record that size.
    Raises what `run` raises if not even one fits.
    """
    results: list[tuple[Result, int]] = []
    for begin in range(0, len(items), size):
        results += _run_or_halve(list(items[begin : begin + size]), size, run)
    return results


def _run_or_halve(
    items: list[T], size: int, run: Callable[[list[T]], Sequence[Result]]
) -> list[tuple[Result, int]]:
    padded = items + [items[-1]] * (size - len(items))
    try:
        return [(result, size) for result in run(padded)[: len(items)]]
    except Exception as error:
        if size == 1 or not is_out_of_memory(error):
            raise
    # Outside the handler, because the exception keeps the tensors of the failed batch alive.
    free_cached_memory()
    return run_padded(items, (size + 1) // 2, run)


def isolate_failures(
    items: Sequence[T],
    run: Callable[[Sequence[T]], Sequence[Result | Exception]],
    *,
    run_alone: Callable[[T], Result | Exception] | None = None,
    attempts: int = 1,
    origin: Callable[[T], Hashable] | None = None,
) -> list[Result | Exception]:
    """Run a batch and, if it fails, each of its items alone: one result or exception per item.

    Results keep the order of `items`. `run` may return an exception in place of a result; a wrong
    number of results fails the batch. An item is run alone by `run_alone` (default: `run` on a
    batch of one) up to `attempts` times; for a batch of one item, the batch itself was the first
    attempt. `origin` names what an item is made from: if all items of several origins fail alike,
    the run is at fault and not the items. Raises InvalidRequest, DiskFull and RunFailure, which end
    the whole run.
    """
    if not items:
        return []
    alone = run_alone or (lambda item: _only(run([item])))
    try:
        outcomes = _one_each(run(items), len(items))
    except Exception as error:  # some item is at fault; find out which
        raise_if_it_ends_the_run(error)
        left = attempts - 1 if len(items) == 1 else attempts
        outcomes = [_run_alone(item, alone, left, error) for item in items]
    if origin is not None:
        _require_some_difference(items, outcomes, origin)
    return outcomes


def alike(errors: Sequence[Exception]) -> bool:
    """Whether errors say the same, apart from the sample that each names."""
    if all(is_out_of_memory(error) for error in errors):
        return True
    return len({(type(e), _IDENTITIES.sub("", str(e))) for e in errors}) == 1


def _require_some_difference(
    items: Sequence[T],
    outcomes: Sequence[Result | Exception],
    origin: Callable[[T], Hashable],
) -> None:
    """Raise RunFailure if all items failed alike, though they are made from different things."""
    errors = [o for o in outcomes if isinstance(o, Exception) and not isinstance(o, DamagedInput)]
    if len(errors) < max(2, len(items)) or not alike(errors):
        return
    if len({origin(item) for item in items}) < 2:
        return
    raise RunFailure(
        f"All {len(errors)} samples of a batch failed alike, so the run was ended and the shard "
        f"was not committed: {one_line(errors[0])[:500]}"
    ) from errors[0]


def _run_alone(
    item: T, run: Callable[[T], Result | Exception], attempts: int, error: Exception
) -> Result | Exception:
    """Return the result of the first successful attempt, or the last error."""
    for _ in range(attempts):
        try:
            return run(item)
        except Exception as latest:
            raise_if_it_ends_the_run(latest)
            error = latest
    return error


def _only(results: Sequence[Result | Exception]) -> Result:
    (result,) = _one_each(results, 1)
    if isinstance(result, Exception):
        raise result
    return result


def _one_each(results: Sequence[Result | Exception], count: int) -> list[Result | Exception]:
    if len(results) != count:
        raise ValueError(f"expected {count} results for {count} items, found {len(results)}")
    return list(results)
