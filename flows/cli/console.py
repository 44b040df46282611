"""Output and exit codes of the commands."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from nightrain.datasets.errors import NightrainError
    from nightrain.pipelines.runs.run import RunReport

NUM_BAD_SHOWN = 20
LEAST_RATED_S = 1.0  # seconds that a task takes before its rate means anything
EXIT_FAILED, EXIT_INVALID, EXIT_INCOMPLETE, EXIT_DISK_FULL, EXIT_BUDGET_SPENT = 1, 2, 3, 4, 5
EXIT_CODES = (
    "Exit codes: 0 success; 1 failure; 2 invalid usage, request or input; 3 success except for "
    "damaged, failed or overlapping items, or more rows in quarantine than --max-quarantined; "
    "4 disk full; 5 the budget is spent and work is left; 130 or 143 stopped by a signal (run the "
    "same command again to resume)."
)


def is_first_rank() -> bool:
    """Whether this process prints: of several training processes, only the first does."""
    return os.environ.get("RANK", "0") in ("", "0")


def console() -> Console:
    """Console for results, on standard output."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True, quiet=not is_first_rank())


def say(text: str, *, err: bool = False) -> None:
    """Print a line, from the first rank only."""
    if is_first_rank():
        click.echo(text, err=err)


def fail(error: NightrainError) -> int:
    """Print an error on standard error and return its exit code."""
    from nightrain.datasets.errors import DiskFull, NightrainError, RunFailure

    click.secho(f"nightrain: {error}", err=True, fg="red")
    if isinstance(error, DiskFull):
        return EXIT_DISK_FULL
    return EXIT_FAILED if type(error) in (NightrainError, RunFailure) else EXIT_INVALID


def print_json(value: BaseModel) -> None:
    """Print a report as JSON, for scripts."""
    say(json.dumps(value.model_dump(mode="json"), indent=2))


class Bar:
    """Progress bar of one task."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task, self._begun = progress, task, False

    def add(self, count: int) -> None:
        """Advance by a count."""
        self._begun = True
        self._progress.advance(self._task, count)

    def expect(self, count: int) -> None:
        """Add a count to the total."""
        total = self._progress.tasks[0].total or 0
        self._progress.update(self._task, total=total + count)

    def say(self, text: str) -> None:
        """Print a line above the bar, unless the bar is hidden."""
        if not self._progress.disable:
            self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def reach(self, done: int, total: int) -> None:
        """Set the bar to `done` of `total`; the rate leaves out what was done at the first call."""
        if self._begun:
            self._progress.update(self._task, completed=done, total=total)
        else:
            self._progress.reset(self._task, completed=done, total=total, before=done - 1)
        self._begun = True

    def end(self) -> None:
        """Remove the bar if nothing was done."""
        if not self._begun:
            self._progress.remove_task(self._task)


@contextmanager
def progress_bar(what: str, total: int | None = None, shown: bool = True) -> Iterator[Bar]:
    """Show a bar on standard error with count, rate and time left, from the first rank only.

    Nothing remains of a bar that never moved.
    """
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
        """Items per second; none for a task that took too little time to measure it."""

        def render(self, task: Task) -> str:  # type: ignore[override]
            elapsed_s = (task.finished_time if task.finished else task.elapsed) or 0.0
            if elapsed_s < LEAST_RATED_S or not task.completed:
                return ""
            return f"{(task.completed - task.fields['before']) / elapsed_s:.1f}/s"

    columns = (BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn(compact=True))
    bar = Progress(
        TextColumn("{task.description}"),
        *columns,
        console=Console(stderr=True),
        disable=not shown or not is_first_rank(),
    )
    with bar:
        task = Bar(bar, bar.add_task(what, total=total, before=0))
        try:
            yield task
        finally:
            task.end()


def counted(number: int, noun: str) -> str:
    """A number and its noun: "1 shard", "2 shards"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def print_run(report: RunReport, what: str) -> None:
    """Print what a run committed, left out and quarantined, and what failed."""
    from rich.markup import escape

    out = console()
    for warning in report.warnings:
        out.print(f"[yellow]warning[/yellow]   {escape(warning)}")
    for reason, count in report.skipped.items():
        out.print(f"[yellow]left out[/yellow]  {count} {reason}")
    for name, table in (report.inputs | report.tables).items():
        words = what if name in report.tables else "rows"
        rate = table.num_rows / table.seconds if table.seconds else 0.0
        out.print(
            f"[green]committed[/green] {name}: {table.num_rows} {words} in "
            f"{counted(table.num_shards, 'shard')}, {table.num_bytes / 1e6:.1f} MB, {rate:.1f}/s"
        )
        for reason, count in table.quarantined.items():
            out.print(f"[yellow]quarantined[/yellow] {name}: {count} for {reason}")
    if report.num_already:
        verb = "was" if report.num_already == 1 else "were"
        out.print(f"{counted(report.num_already, 'shard')} {verb} already committed")
    _print_end(report, what)


def _print_end(report: RunReport, what: str) -> None:
    """Print what failed, and why a run ended early or made nothing."""
    from rich.markup import escape

    out = console()
    for failure in report.failed:
        out.print(f"[red]failed[/red]    {failure}")
    if report.over_limit:
        out.print(f"[red]failed[/red]    {escape(report.over_limit)}")
    if report.stopped:
        out.print("[yellow]stopped[/yellow]   run the same command again to resume")
    elif report.budget_spent:
        out.print(f"[yellow]spent[/yellow]     {escape(report.budget_spent)}")
    elif report.not_started:
        out.print(f"[yellow]skipped[/yellow]   {escape(report.not_started)}")
    elif not (report.tables or report.num_already or report.failed):
        out.print(f"There are no {what} to process")


def print_bad_frames(report: RunReport, root: Path, skip_bad: bool) -> None:
    """Print the first frames that could not be read, and what to do about them."""
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
            "They were skipped (--skip-bad)."
            if skip_bad
            else "Fix them and run the same command with --retry-failed, or use --skip-bad to "
            "accept the dataset without them."
        )
        out.print(
            f"{num_bad} frames could not be read and are listed in "
            f"{root / 'quarantine' / 'frames'}; all others are committed. {advice}"
        )


def ingest_exit_code(report: RunReport, signal_exit_code: int, skip_bad: bool) -> int:
    """Exit code of an ingestion, which is incomplete if frames could not be read."""
    bad = report.bad_frames or report.unplaced
    return exit_code(report, signal_exit_code) or (EXIT_INCOMPLETE if bad and not skip_bad else 0)


def exit_code(report: RunReport, signal_exit_code: int) -> int:
    """Exit code of a run."""
    if report.stopped:
        return signal_exit_code or 128 + signal.SIGTERM
    if report.failed or report.over_limit:
        return EXIT_INCOMPLETE
    return EXIT_BUDGET_SPENT if report.budget_spent else 0


def end(code: int) -> None:
    """Exit from the command with a code."""
    if code:
        sys.stdout.flush()
        raise click.exceptions.Exit(code)
