"""Failures of a command: one sentence and an exit code; a traceback only goes to a file."""

from __future__ import annotations

import errno
import logging
import platform
import sys
import tempfile
import traceback
from datetime import UTC, datetime
from importlib.metadata import entry_points, version
from pathlib import Path

import click

from nightrain.flows.cli.console import EXIT_DISK_FULL, EXIT_FAILED, EXIT_INVALID, fail

PACKAGE = "nightrain"


def report_failure(error: Exception, show_traceback: bool) -> int:
    """Print an error on standard error in one sentence; return its exit code.

    An error that is a bug writes its traceback to a file, whose path is in the sentence.
    `show_traceback` prints the traceback of every error.
    """
    from nightrain.datasets.errors import NightrainError
    from nightrain.datasets.io.atomic import NO_SPACE

    if show_traceback:
        traceback.print_exception(error)
    if isinstance(error, NightrainError):
        return fail(error)
    if (words := _words(error)) is not None:
        click.secho(f"nightrain: {words}", err=True, fg="red")
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            return EXIT_DISK_FULL
        return EXIT_FAILED if isinstance(error, MemoryError) else EXIT_INVALID
    click.secho(f"nightrain: {_bug(error)}", err=True, fg="red")
    return EXIT_FAILED


class WarningPrinter(logging.Handler):
    """Prints this package's warnings on standard error, unless a flow run logs them."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        if len(logging.getLogger(PACKAGE).handlers) == 1:
            click.secho(f"nightrain: {record.getMessage()}", err=True, fg="yellow")


def print_warnings() -> None:
    """Print warnings of this package's loggers in this process."""
    package = logging.getLogger(PACKAGE)
    if not any(isinstance(handler, WarningPrinter) for handler in package.handlers):
        package.addHandler(WarningPrinter(logging.WARNING))


def is_broken_pipe(error: Exception) -> bool:
    """Whether the reader of the output has ended, as in `nightrain stats | head`."""
    return isinstance(error, OSError) and error.errno == errno.EPIPE


def _words(error: Exception) -> str | None:
    """A sentence for an error of the system or of the installation; None for a bug."""
    from nightrain.datasets.io.system_errors import in_words

    if isinstance(error, OSError | MemoryError):
        return in_words(error)
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("nightrain"):
        return f"The package {error.name!r} is missing. Install nightrain with all its packages."
    if type(error).__name__ == "OutOfMemoryError":  # torch's
        return "The GPU's memory ran out. Use a smaller batch size or image size."
    if _is_of_server(error):
        found = " ".join(str(error).split())[:200] or type(error).__name__
        return (
            f"Prefect's server: {found}. Check it with `nightrain doctor`, start it with `prefect "
            "server start`, unset PREFECT_API_URL for a temporary one, or use --runner local."
        )
    return None


def _is_of_server(error: Exception) -> bool:
    """Whether a Prefect server could not be reached, or refused a request."""
    module = type(error).__module__
    if isinstance(error, RuntimeError) and "Failed to reach API" in str(error):
        return True
    return module.partition(".")[0] in ("httpx", "httpcore") or module == "prefect.exceptions"


def _bug(error: Exception) -> str:
    found = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    try:
        where = f"with the traceback in {_write_traceback(error)}"
    except OSError:
        where = "with the output of `nightrain --traceback ...`"
    plugin = _plugin_of(error)
    whose, to = (f"the plugin {plugin}", " to its authors") if plugin else (PACKAGE, "")
    return f"This is a bug in {whose} ({found}). Please report it{to} {where}."


def _plugin_of(error: Exception) -> str:
    """Top-level module of the plugin that an error passed through; "" if it passed none."""
    modules = {
        str(frame.f_globals.get("__name__", "")).partition(".")[0]
        for frame, _ in traceback.walk_tb(error.__traceback__)
    }
    points = entry_points()
    groups = [group for group in points.groups if group.startswith(f"{PACKAGE}.")]
    names = {
        p.value.partition(":")[0].partition(".")[0] for g in groups for p in points.select(group=g)
    }
    return next(iter(sorted(modules & names - {PACKAGE})), "")


def _write_traceback(error: Exception) -> Path:
    python = f"Python {platform.python_version()} on {platform.platform()}"
    head = f"nightrain {_version()}, {python}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    command = " ".join(["nightrain", *sys.argv[1:]])
    text = "".join(traceback.format_exception(error))
    with tempfile.NamedTemporaryFile(
        "w", prefix="nightrain-", suffix=".txt", delete=False, errors="replace"
    ) as file:
        file.write(f"{head}\n{command}\n\n{text}")
    return Path(file.name)


def _version() -> str:
    try:
        return version("nightrain")
    except Exception:
        return "of unknown version"
