"""Batches: split items into batches, and isolate the item that makes a batch fail."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from nightrain.datasets.errors import DiskFull, InvalidRequest

T = TypeVar("T")
Result = TypeVar("Result")

# These would fail every other item as well, so they end the whole run.
ENDS_THE_RUN = (InvalidRequest, DiskFull)


def in_batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of `size` items; the last may be shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def isolate_failures(
    items: Sequence[T],
    run: Callable[[Sequence[T]], Sequence[Result | Exception]],
    *,
    run_alone: Callable[[T], Result] | None = None,
    attempts: int = 1,
) -> list[Result | Exception]:
    """Run a batch and, if it fails, each of its items alone: one result or exception per item.

    Results keep the order of `items`. `run` may return an exception in place of a result; a wrong
    number of results fails the batch. An item is run alone by `run_alone` (default: `run` on a
    batch of one) up to `attempts` times; for a batch of one item, the batch itself was the first
    attempt. Raises InvalidRequest and DiskFull, which end the whole run.
    """
    if not items:
        return []
    alone = run_alone or (lambda item: _only(run([item])))
    try:
        return _one_each(run(items), len(items))
    except ENDS_THE_RUN:
        raise
    except Exception as error:  # some item is at fault; find out which
        if len(items) == 1:
            return [_run_alone(items[0], alone, attempts - 1, error)]
        return [_run_alone(item, alone, attempts, error) for item in items]


def _run_alone(
    item: T, run: Callable[[T], Result], attempts: int, error: Exception
) -> Result | Exception:
    """Return the result of the first successful attempt, or the last error."""
    for _ in range(attempts):
        try:
            return run(item)
        except ENDS_THE_RUN:
            raise
        except Exception as latest:
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
