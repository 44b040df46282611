"""Parsed files: each is read and parsed once per process, as long as it does not change."""

import gc
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

Value = TypeVar("Value")
Stamp = tuple[int, int, int, int]

MANY_OBJECTS = 200_000  # of about 5,000 manifest entries
SETTLED_NS = 2_000_000_000  # a younger file may change again without another time stamp


class ParsedFiles(Generic[Value]):
    """Values of parsed files by path; a value is dropped when its file is replaced or changed.

    A change is noticed by inode, size, and times of modification and of status change. Many files
    that are read again and again by one run are therefore opened only once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: dict[str, tuple[Stamp, Value]] = {}

    def get(self, name: str, parse: Callable[[str], Value]) -> Value:
        """Value of a file, parsed if it is new or changed; raises FileNotFoundError."""
        stamp = _stamp(name)
        known = self._values.get(name)
        if known is not None and known[0] == stamp:
            return known[1]
        value = parse(name)
        if time.time_ns() - max(stamp[2:]) > SETTLED_NS:
            if len(self._values) >= self._most:
                self._values.clear()
            self._values[name] = stamp, value
        return value


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause the garbage collector, which takes half of the time of parsing many files.

    The values of many files are then hidden from it, because they are kept and hold no cycles, and
    it would visit them all again and again; what is garbage by then is collected first.
    """
    enabled = gc.isenabled()
    gc.disable()
    before = gc.get_count()[0]
    try:
        yield
    finally:
        if gc.get_count()[0] - before >= MANY_OBJECTS:
            gc.collect()
            gc.freeze()
        if enabled:
            gc.enable()


def _stamp(name: str) -> Stamp:
    try:
        status = os.stat(name)
    except NotADirectoryError as error:
        raise FileNotFoundError(error.errno, "No such file", name) from error
    except FileNotFoundError:
        raise
    except OSError:  # the parser says what is wrong
        return (0, 0, 0, time.time_ns())
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
