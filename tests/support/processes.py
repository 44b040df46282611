"""Processes that tests start and kill, forked from a server that imports libraries only once."""

import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerProcess
from typing import Any

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
