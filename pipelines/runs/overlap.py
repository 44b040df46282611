"""Overlapping stages: batches pass, in order, through stages that each have a thread.

The device works on one batch while the next is prepared, the previous one is completed, and the
caller stores the one before. At most four batches are in progress.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from queue import SimpleQueue
from typing import Generic, TypeVar

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
T = TypeVar("T")


def overlapped(
    items: Iterable[T],
    *,
    prepare: Callable[[T], A],
    begin: Callable[[A], B],
    finish: Callable[[B], C],
    complete: Callable[[C], D],
) -> Generator[D, None, None]:
    """Yield complete(finish(begin(prepare(item)))) of each item, in order.

    One thread iterates over `items` and prepares, one begins and finishes, one completes. An item
    is begun before the previous one is finished. A stage's exception is raised in place of that
    item, after the results of earlier items; closing the generator ends the threads after their
    current step.
    """
    prepared = ahead(_each(prepare, items))
    made = ahead(_begun_early(prepared, begin, finish))
    completed = ahead(_each(complete, made))
    try:
        yield from completed
    finally:
        for stage in (completed, made, prepared):  # the last first: it drives the others
            stage.close()


def ahead(items: Iterable[T]) -> Generator[T, None, None]:
    """Yield the same items, each computed in a thread while the caller works on the previous one.

    An exception is raised in place of its item. Nothing is computed before the first `next`.
    """
    computing = _Computing(items)
    try:
        computing.thread.start()
        while True:
            item = computing.take()
            if item is None:
                return
            yield item[0]
            del item  # frees its memory while waiting for the next
    finally:
        computing.end()


class _Computing(Generic[T]):
    """A thread that computes at most one item ahead."""

    def __init__(self, items: Iterable[T]) -> None:
        self._results: SimpleQueue[tuple[T] | BaseException | None] = SimpleQueue()
        self._room = threading.Semaphore(1)
        self._ended = False
        # A daemon: a caller that never closes the generator does not keep the process alive.
        self.thread = threading.Thread(target=self._run, args=(items,), daemon=True)

    def take(self) -> tuple[T] | None:
        """Wait for the next item and make room for another; return None at the end."""
        result = self._results.get()
        self._room.release()
        if isinstance(result, BaseException):
            raise result
        return result

    def end(self) -> None:
        """Wait for the current item, and start no more."""
        self._ended = True
        self._room.release()
        if self.thread.is_alive():
            self.thread.join()

    def _run(self, items: Iterable[T]) -> None:
        try:
            iterator = iter(items)
            while self._room.acquire() and not self._ended:
                try:
                    self._results.put((next(iterator),))
                except StopIteration:
                    self._results.put(None)
                    return
        except BaseException as error:
            self._results.put(error)


def _each(function: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
    for item in items:
        yield function(item)


def _begun_early(
    items: Iterable[A], begin: Callable[[A], B], finish: Callable[[B], C]
) -> Iterator[C]:
    """Yield finish(begin(item)) of each item; the next item is begun before one is finished.

    If an item cannot be begun, the items in progress are finished first.
    """
    iterator, in_progress = iter(items), deque[B]()
    failure: Exception | None = None
    while failure is None:
        try:
            item = next(iterator)
        except StopIteration:
            break
        except Exception as error:
            failure = error
            break
        try:
            in_progress.append(begin(item))
        except Exception as error:
            failure = error
        del item
        if len(in_progress) > 1:
            yield finish(in_progress.popleft())
    while in_progress:
        yield finish(in_progress.popleft())
    if failure is not None:
        raise failure
