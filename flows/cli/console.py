"""What the commands print, and how they end."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from nightrain.datasets.errors import NightrainError
    from nightrain.pipelines.runs.run import RunReport

Choice = TypeVar("Choice", bound=str)

NUM_BAD_SHOWN = 20
EXIT_FAILED, EXIT_REFUSED, EXIT_INCOMPLETE, EXIT_DISK_FULL = 1, 2, 3, 4
EXIT_CODES = (
    "Exit codes: 0 done, 1 failed, 2 refused or wrong usage, 3 done but for what is damaged, "
    "failed or overlaps (`ingest --skip-bad`: 0), 4 disk full, 130 or 143 stopped by a signal (run "
    "the same command to go on)."
)


def console() -> Console:
    """The terminal for results (standard output)."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


def fail(error: NightrainError) -> int:
    """Print an error for a person and return its exit code."""
    from nightrain.datasets.errors import DiskFull, InvalidRequest, PlanMismatch

    typer.secho(f"nightrain: {error}", err=True, fg="red")
    if isinstance(error, DiskFull):
        return EXIT_DISK_FULL
    return EXIT_REFUSED if isinstance(error, InvalidRequest | PlanMismatch) else EXIT_FAILED


def print_json(value: BaseModel) -> None:
    """Print a report as JSON, for scripts."""
    print(json.dumps(value.model_dump(mode="json"), indent=2))


class Bar:
    """A progress bar that work adds to."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def add(self, count: int) -> None:
        """So many more are done."""
        self._progress.advance(self._task, count)

    def reach(self, done: int, total: int) -> None:
        """So many are done of so many."""
        self._progress.update(self._task, completed=done, total=total)


@contextmanager
def progress_bar(what: str, total: int | None = None, shown: bool = True) -> Iterator[Bar]:
    """A bar on standard error with count, rate and time left."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )

    class Rate(ProgressColumn):
        """Items per second."""

        def render(self, task: Task) -> str:  # type: ignore[override]
            return f"{task.speed:.1f}/s" if task.speed else "-/s"

    columns = (BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn(compact=True))
    bar = Progress(
        TextColumn("{task.description}"), *columns, console=Console(stderr=True), disable=not shown
    )
    with bar:
        yield Bar(bar, bar.add_task(what, total=total))


def print_run(report: RunReport, what: str) -> None:
    """Say what a run committed, left out, quarantined and could not do."""
    from rich.markup import escape

    out = console()
    for warning in report.warnings:
        out.print(f"[yellow]warning[/yellow]   {escape(warning)}")
    for reason, count in report.skipped.items():
        out.print(f"[yellow]left out[/yellow]  {count} {reason}")
    for name, table in report.tables.items():
        rate = table.num_rows / table.seconds if table.seconds else 0.0
        out.print(
            f"[green]committed[/green] {name}: {table.num_rows} {what} in {table.num_shards} "
            f"shards, {table.num_bytes / 1e6:.1f} MB, {rate:.1f}/s"
        )
        for reason, count in table.quarantined.items():
            out.print(f"[yellow]quarantined[/yellow] {name}: {count} for {reason}")
    if report.num_already:
        out.print(f"{report.num_already} shards were committed before")
    for failure in report.failed:
        out.print(f"[red]failed[/red]    {failure}")
    if report.stopped:
        out.print("[yellow]stopped[/yellow]   on request; the same command goes on from here")


def print_bad_frames(report: RunReport, root: Path, skip_bad: bool) -> None:
    """Name the frames that could not be read, the first few in full, and say what to do."""
    from rich.markup import escape

    out, bad = console(), report.bad_frames
    for frame in bad[:NUM_BAD_SHOWN]:
        when = ", found earlier" if frame.earlier else ""
        out.print(
            f"[yellow]bad frame[/yellow] {frame.frame_id} {frame.reason}{when}: "
            f"{escape(f'{frame.scene_id} {frame.camera} {frame.source_id}: {frame.message}')}"
        )
    if len(bad) > NUM_BAD_SHOWN:
        out.print(f"          and {len(bad) - NUM_BAD_SHOWN} more; --json lists all of them")
    for name in report.unplaced[:NUM_BAD_SHOWN]:
        out.print(f"[yellow]bad record[/yellow] {escape(name)}: it names no camera")
    num_bad = len(bad) + len(report.unplaced)
    if num_bad and not report.stopped:
        advice = (
            "Skipped, as you said."
            if skip_bad
            else "Mend them and run the same command with --retry-failed, or say --skip-bad to go "
            "on without them."
        )
        out.print(
            f"{num_bad} could not be read; they are in {root / 'quarantine' / 'frames'}, and all "
            f"others are committed. {advice}"
        )


def one_of(option: str, value: str, choices: tuple[Choice, ...]) -> Choice:
    """The choice of that name; raises typer.BadParameter."""
    for choice in choices:
        if value == choice:
            return choice
    raise typer.BadParameter(f"{option} is {value!r}; expected one of {', '.join(choices)}")


def ingest_exit_code(report: RunReport, signal_exit_code: int, skip_bad: bool) -> int:
    """The exit code of an ingestion: frames that could not be read leave it incomplete."""
    bad = report.bad_frames or report.unplaced
    return exit_code(report, signal_exit_code) or (EXIT_INCOMPLETE if bad and not skip_bad else 0)


def exit_code(report: RunReport, signal_exit_code: int) -> int:
    """The exit code of a run."""
    if report.stopped:
        return signal_exit_code or 128 + signal.SIGTERM
    return EXIT_INCOMPLETE if report.failed else 0


def end(code: int) -> None:
    """End the command with an exit code."""
    if code:
        sys.stdout.flush()
        raise typer.Exit(code)
