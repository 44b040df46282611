"""Several batches on their way at once, each stage in a thread of its own; their order stays.

The device works on one batch while the next is prepared, the one before it is brought into its
final form, and the caller stores what came before that. At most four batches are on their way.
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

    One thread runs through `items` and prepares, one begins and finishes, one completes. An item
    is begun before the one ahead of it is finished. What a stage raises is raised at that item's
    place, after the results of those before it; closing ends the threads after the step in hand.
    """
    prepared = ahead(_each(prepare, items))
    made = ahead(_begun_early(prepared, begin, finish))
    completed = ahead(_each(complete, made))
    try:
        yield from completed
    finally:
        for stage in (completed, made, prepared):  # the last first: it runs those before it
            stage.close()


def ahead(items: Iterable[T]) -> Generator[T, None, None]:
    """The same items, each computed in a thread while the caller works on the one before it.

    What computing raises is raised at its place. Nothing is computed before the first is asked for.
    """
    computing = _Computing(items)
    try:
        computing.thread.start()
        while True:
            item = computing.take()
            if item is None:
                return
            yield item[0]
            del item  # its memory is not held while the next is waited for
    finally:
        computing.end()


class _Computing(Generic[T]):
    """A thread that is at most one item ahead of who takes them."""

    def __init__(self, items: Iterable[T]) -> None:
        self._results: SimpleQueue[tuple[T] | BaseException | None] = SimpleQueue()
        self._room = threading.Semaphore(1)
        self._ended = False
        # A daemon: a caller that never closes the generator keeps no process alive.
        self.thread = threading.Thread(target=self._run, args=(items,), daemon=True)

    def take(self) -> tuple[T] | None:
        """Wait for the next item and make room for another; None at the end."""
        result = self._results.get()
        self._room.release()
        if isinstance(result, BaseException):
            raise result
        return result

    def end(self) -> None:
        """Wait until the item in hand is computed; no other is begun."""
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
    """finish(begin(item)) of each item; the next one is begun before.

    Where beginning an item fails, or there is none to begin, those under way are finished first.
    """
    iterator, under_way = iter(items), deque[B]()
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
            under_way.append(begin(item))
        except Exception as error:
            failure = error
        del item
        if len(under_way) > 1:
            yield finish(under_way.popleft())
    while under_way:
        yield finish(under_way.popleft())
    if failure is not None:
        raise failure
