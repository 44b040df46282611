"""Deadlines of tests: one constant, far above what a slow and busy machine takes."""

import time
from collections.abc import Callable

DEADLINE_S = 240.0  # below pytest's own limit, so that the assertion names what was waited for
POLL_S = 0.01


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Return once `condition()` is true; fail with `what` after DEADLINE_S seconds."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"not after {DEADLINE_S:.0f} s: {what}"
        time.sleep(POLL_S)
