"""Processes that tests start, wait for and kill, forked from a server that imports once."""

import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerProcess
from typing import Any

# Of all that tests wait for: far above what a slow and busy machine takes, and below pytest's own
# limit, so that an assertion names what was waited for.
DEADLINE_S = 240.0
POLL_S, POLLS_PER_WAIT = 0.01, 20  # the longer the wait, the rarer: polls cost what is waited for

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["support.tiny_training", "support.tiny_diffusion"])


def start(
    target: Callable[..., object], *arguments: Any, environment: Mapping[str, str] | None = None
) -> ForkServerProcess:
    """Run `target(*arguments)` in a process of its own, which ends with its parent.

    `target` is a function of a module, because the process imports it.
    """
    process = _context.Process(
        target=_run, args=(environment or {}, target, arguments), daemon=True
    )
    process.start()
    return process


def free_port() -> str:
    """A port of this machine that nothing listens on, for processes that train together."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def nightrain(*arguments: object) -> None:
    """The command line, as a target of `start`; raises SystemExit with its code."""
    from nightrain.flows.cli import main

    sys.argv = ["nightrain", *map(str, arguments)]
    main()


def _run(
    environment: Mapping[str, str], target: Callable[..., object], arguments: tuple[Any, ...]
) -> None:
    os.environ.update(environment)
    target(*arguments)


def wait_until(condition: Callable[[], object], what: str, limit_s: float = DEADLINE_S) -> None:
    """Return once `condition()` is true; fail with `what` after `limit_s` seconds.

    It returns late by at most a twentieth of the time waited.
    """
    start = time.monotonic()
    while not condition():
        waited_s = time.monotonic() - start
        assert waited_s < limit_s, f"not after {limit_s:.0f} s: {what}"
        time.sleep(max(POLL_S, waited_s / POLLS_PER_WAIT))
