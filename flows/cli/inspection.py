"""The command `verify` for a dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nightrain.datasets.validation import parse_since
from nightrain.flows.cli.console import (
    EXIT_INCOMPLETE,
    console,
    counted,
    end,
    print_json,
    progress_bar,
)
from nightrain.flows.cli.jobs import OutputOptions
from nightrain.flows.cli.options import command
from nightrain.pipelines.inspect.verify_job import VerifyJob

if TYPE_CHECKING:
    from datetime import datetime

    from nightrain.datasets.shards.verify import VerifyReport


@command
def verify(job: VerifyJob, output: OutputOptions) -> None:
    """Re-hash every committed file and read every page.

    The exit code is 3 if anything is damaged, cannot be read, or has no manifest entry.
    """
    print_verification(job, output)


def print_verification(job: VerifyJob, output: OutputOptions) -> None:
    """Verify a dataset, print the result, and end the command unless the dataset is accepted."""
    from nightrain.datasets.shards.verify import verify

    since = parse_since(job.since) if job.since else None
    with progress_bar("shards", shown=not output.as_json) as bar:
        report = verify(job.dataset, bar.reach, since=since, share=job.sample)
    if output.as_json:
        print_json(report)
    else:
        _print_report(report, since, job)
    end(0 if report.accepted else EXIT_INCOMPLETE)


def _print_report(report: VerifyReport, since: datetime | None, job: VerifyJob) -> None:
    from rich.markup import escape

    out = console()
    for problem in report.problems:
        out.print(f"[red]damaged[/red]  {escape(problem.path)}: {escape(problem.message)}")
    for name in report.orphans:
        out.print(
            f"[red]orphan[/red]   {escape(name)}: it has no manifest entry, and no process is "
            "committing it; readers ignore it"
        )
    for name in report.in_progress:
        out.print(f"in progress  {escape(name)}: a live process is about to commit it")
    if report.num_uncontrolled:
        out.print(
            f"without control: {report.num_uncontrolled} variants; not trained on unless included"
        )
    if report.num_unread:
        chosen = [f"committed since {since:%Y-%m-%d %H:%M} UTC"] if since else []
        chosen += [f"a random {job.sample:.0%}"] if job.sample < 1.0 else []
        out.print(
            f"[yellow]not checked[/yellow] the content of {report.num_unread} of "
            f"{counted(report.num_shards, 'shard')} (checked: {', '.join(chosen)}), nor whether "
            "their keys recur in other shards; only that their files are there and have their size"
        )
    out.print(
        f"{_verdict(report)}: {counted(report.num_shards, 'shard')}, {report.num_rows} rows, "
        f"{report.num_quarantined} quarantined, {report.num_bytes / 1e6:.1f} MB read"
    )
    if report.problems or report.orphans:
        out.print(f"Run `nightrain repair {job.dataset}` to see what can be repaired, and how.")


def _verdict(report: VerifyReport) -> str:
    if report.accepted:
        return "accepted as far as checked" if report.num_unread else "accepted"
    found = [
        counted(len(things), noun)
        for things, noun in ((report.problems, "problem"), (report.orphans, "orphan"))
        if things
    ]
    return " and ".join(found) or "nothing to verify"
