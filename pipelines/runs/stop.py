"""Cooperative cancellation and pauses: flags that work checks between batches."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event as ProcessEvent
from types import FrameType

SECONDS_PER_LOOK = 0.5  # the longest delay of a stop request during a pause


class Stop:
    """A flag that a signal sets and that work checks between batches; work can also be paused."""

    def __init__(self, event: threading.Event | ProcessEvent | None = None) -> None:
        self._event = event if event is not None else threading.Event()
        self._resumed = threading.Event()
        self._resumed.set()
        self._is_asked = False  # by a person, a signal or the server
        self.signal: int | None = None

    @property
    def requested(self) -> bool:
        """Whether the batch in progress should be the last."""
        return self._event.is_set()

    def wait(self, seconds: float) -> None:
        """Sleep, at most until a stop is requested."""
        self._event.wait(seconds)

    def request(self, signal_number: int | None = None) -> None:
        """Request a stop after the batch in progress."""
        self.signal = signal_number
        self._is_asked = True
        self._event.set()

    def end_for_budget(self) -> None:
        """Request the same because the run's budget is spent; `forget_budget` takes it back."""
        self._event.set()

    def forget_budget(self) -> bool:
        """Take back the request of a spent budget, so that other work can follow.

        Return whether there was one and no other request.
        """
        if self._is_asked or not self._event.is_set():
            return False
        self._event.clear()
        return True

    @property
    def paused(self) -> bool:
        """Whether work should wait after the batch in progress."""
        return not self._resumed.is_set()

    @property
    def interrupted(self) -> bool:
        """Whether work should end after the batch in progress, for good or until it is resumed."""
        return self.requested or self.paused

    def pause(self) -> None:
        """Request a pause after the batch in progress."""
        self._resumed.clear()

    def resume(self) -> None:
        """End a pause."""
        self._resumed.set()

    def wait_while_paused(self) -> None:
        """Return at once, or at the end of a pause, or when a stop is requested."""
        while self.paused and not self.requested:
            self._resumed.wait(SECONDS_PER_LOOK)

    @property
    def exit_code(self) -> int:
        """Exit code of a process that a signal stopped: 128 plus the signal's number."""
        return 128 + (self.signal if self.signal is not None else int(signal.SIGTERM))


@contextmanager
def stop_on_signals(stop: Stop) -> Iterator[Stop]:
    """Set the flag on SIGTERM and SIGINT within the block; the same signal again exits at once.

    One of each does not: a terminal and a supervisor may both report the same Ctrl-C.
    """
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may set handlers
        return

    def handle(number: int, _: FrameType | None) -> None:
        if stop.requested and stop.signal == number:
            os._exit(128 + number)
        stop.request(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_current = Stop()


def current() -> Stop:
    """Return this process's flag; in a worker process, the parent sets it."""
    return _current


def set_current(stop: Stop) -> None:
    """Install a flag as this process's own."""
    global _current
    _current = stop


def interrupt_if_stopped() -> None:
    """Raise ShardInterrupted if a stop or a pause was requested; call it between two batches."""
    if _current.interrupted:
        from nightrain.datasets.shards.transaction import ShardInterrupted  # heavy

        raise ShardInterrupted


class WorkCancelled(Exception):
    """Raised to cancel work that is useless half done; none of it is kept."""


def unless_stopped(stop: Stop, on_step: Callable[[int, int], None]) -> Callable[[int, int], None]:
    """Wrap a progress callback (done, total): it raises WorkCancelled once the flag is set."""

    def checked(done: int, total: int) -> None:
        if stop.requested:
            raise WorkCancelled
        on_step(done, total)

    return checked
