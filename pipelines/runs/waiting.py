"""Waiting for other processes: with growing pauses, and saying for what, on whom and since when."""

import logging
import time
from collections.abc import Callable

SAY_AFTER_SECONDS = 2.0
SAY_AGAIN_SECONDS = 60.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 5.0
GROWTH = 1.5
STEP_SECONDS = 0.1  # the longest delay of a stop request

logger = logging.getLogger(__name__)


class Waiting:
    """One wait; `pause` is called until what is waited for has come."""

    def __init__(self, give_up: Callable[[], bool]) -> None:
        self._give_up = give_up
        self._began = time.monotonic()
        self._since = time.strftime("%H:%M:%S")
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._said, self._said_at = "", 0.0

    def pause(self, what: Callable[[], str]) -> None:
        """Sleep until the next look; log `what()`, such as "for a shard that X holds".

        It is logged once the wait has lasted SAY_AFTER_SECONDS, when it changes and each minute.
        """
        now = time.monotonic()
        if now - self._began >= SAY_AFTER_SECONDS:
            words = what()
            if words != self._said or now - self._said_at >= SAY_AGAIN_SECONDS:
                logger.warning("waiting since %s %s", self._since, words)
                self._said, self._said_at = words, now
        self._sleep()
        self._pause_seconds = min(self._pause_seconds * GROWTH, LONGEST_PAUSE_SECONDS)

    def _sleep(self) -> None:
        until = time.monotonic() + self._pause_seconds
        while not self._give_up() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, STEP_SECONDS))
