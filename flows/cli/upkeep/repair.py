"""The command `repair`: brings a damaged dataset to a valid state."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
from nightrain.flows.cli.upkeep.options import ChangeOptions
from nightrain.pipelines.inspect.verify_job import require_dataset

if TYPE_CHECKING:
    from nightrain.datasets.upkeep.repair import RepairReport


@command
def repair(job: ChangeOptions, output: OutputOptions) -> None:
    """Find damaged, lost and unaccounted files, and bring the dataset to a valid state.

    Says what would be done; --yes does it. A shard that cannot be read loses its manifest entry, so
    that the command that made it makes it again; a file without an entry is adopted if every byte
    of it can be proven, else removed. Plans of frames and pinned settings are made anew from the
    committed shards where possible. The exit code is 0 if nothing is wrong or all of it was
    repaired, 3 if something is left.
    """
    from nightrain.datasets.io.atomic import require_writable
    from nightrain.datasets.upkeep.repair import find_damage, repair
    from nightrain.pipelines.inspect.dataset_card import write_card

    require_dataset(job.dataset)
    with progress_bar("shards", shown=not output.as_json) as bar:
        report = find_damage(job.dataset, bar.reach)
    if job.yes and report.findings:
        require_writable(job.dataset)
        report = repair(job.dataset, report)
        write_card(job.dataset)
    if output.as_json:
        print_json(report)
    else:
        _print_findings(report)
    end(0 if report.settled else EXIT_INCOMPLETE)


def _print_findings(report: RepairReport) -> None:
    from rich.markup import escape

    out = console()
    for finding in report.findings:
        out.print(f"[red]{escape(finding.path)}[/red]: {escape(finding.problem)}")
        what = finding.outcome or f"would be repaired: {finding.words}"
        out.print(f"    {escape(what)}")
    if not report.findings:
        out.print(f"{counted(report.num_shards, 'shard')}, nothing to repair")
    elif not report.done:
        out.print("Nothing was changed; run the same command with --yes to do this.")
