"""The wish to stop: set by a signal, asked for between batches."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event as ProcessEvent
from types import FrameType


class Stop:
    """A flag that a signal sets and that work looks at between batches."""

    def __init__(self, event: threading.Event | ProcessEvent | None = None) -> None:
        self._event = event if event is not None else threading.Event()
        self.signal: int | None = None

    @property
    def requested(self) -> bool:
        """Whether the work in hand should be the last."""
        return self._event.is_set()

    def request(self, signal_number: int | None = None) -> None:
        """Ask the work to end after the batch in hand."""
        self.signal = signal_number
        self._event.set()

    @property
    def exit_code(self) -> int:
        """Exit code of a process that a signal stopped: 128 + its number."""
        return 128 + (self.signal if self.signal is not None else int(signal.SIGTERM))


@contextmanager
def stop_on_signals(stop: Stop) -> Iterator[Stop]:
    """Within the block SIGTERM and SIGINT set the flag; a second one ends the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may set handlers
        return

    def ask(number: int, _: FrameType | None) -> None:
        if stop.requested:
            os._exit(128 + number)
        stop.request(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_current = Stop()


def current() -> Stop:
    """The flag of this process; a worker process has one that its parent sets."""
    return _current


def set_current(stop: Stop) -> None:
    """Make a flag the one of this process."""
    global _current
    _current = stop


class StopRequested(Exception):
    """Work that cannot be left half done was asked to stop; nothing of it is kept."""


def unless_stopped(stop: Stop, on_step: Callable[[int, int], None]) -> Callable[[int, int], None]:
    """A progress callback (done, total) that raises StopRequested once the flag is set."""

    def go_on(done: int, total: int) -> None:
        if stop.requested:
            raise StopRequested
        on_step(done, total)

    return go_on
