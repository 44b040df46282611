"""Upkeep commands: `prune`, `repair` and `upgrade` change committed shards of a dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from nightrain.flows.cli.console import (
    EXIT_INCOMPLETE,
    console,
    counted,
    end,
    print_json,
    progress_bar,
)
from nightrain.flows.cli.inspection import DatasetOptions, require_dataset
from nightrain.flows.cli.jobs import OutputOptions
from nightrain.flows.cli.options import command

if TYPE_CHECKING:
    from nightrain.datasets.upkeep.prune import PrunePlan
    from nightrain.datasets.upkeep.repair import RepairReport


class ChangeOptions(DatasetOptions):
    """Options of commands that first say what they would change."""

    yes: bool = Field(default=False, description="Do it; without this option, only say what")


class PruneOptions(ChangeOptions):
    """Options of `nightrain prune`."""

    variants: str = Field(
        default="", description="Remove variants: a recipe's name, a folder, or a hash"
    )
    labels: str = Field(default="", description="Remove labels: their name, or the teacher's")
    captions: str = Field(default="", description="Remove captions: their name, or the captioner's")
    superseded: bool = Field(
        default=False, description="Remove variants that no recipe uses since it was edited"
    )
    quarantine: bool = Field(
        default=False,
        description="Remove only rejected rows, of the selected tables or of all; they are not "
        "retried any more",
    )


@command
def prune(job: PruneOptions, output: OutputOptions) -> None:
    """Remove variants, labels or captions that are no longer needed, or the quarantine.

    Says what would be removed; --yes removes it. Frames are never removed. While another process
    makes shards of the dataset, nothing is removed; programs that read the removed shards at the
    time get an error on files that they have not opened yet.
    """
    from nightrain.datasets.upkeep.prune import PruneSelection, plan_prune, prune
    from nightrain.pipelines.inspect.dataset_card import write_card

    require_dataset(job.dataset)
    selection = PruneSelection(**job.model_dump(exclude={"dataset", "yes"}))
    plan = plan_prune(job.dataset, selection)
    if job.yes:
        plan = prune(job.dataset, plan)
        write_card(job.dataset)
    if output.as_json:
        print_json(plan)
    else:
        _print_plan(plan)


def _print_plan(plan: PrunePlan) -> None:
    out, verb = console(), "removed" if plan.done else "would remove"
    for part in plan.tables:
        rows = "" if plan.quarantine_only else f"{part.num_rows} rows and "
        out.print(
            f"{verb} {part.table}: {rows}{part.num_quarantined} quarantined in "
            f"{counted(part.num_shards, 'shard')}, {part.num_bytes / 1e6:.1f} MB"
        )
    for table, recipe in plan.shared.items():
        out.print(f"[yellow]kept[/yellow] {table}: recipe {recipe} uses it, too")
    if not plan.tables:
        out.print("There is nothing to remove")
    elif not plan.done:
        out.print(
            f"In total {plan.num_bytes / 1e6:.1f} MB. Nothing was removed; run the same command "
            "with --yes to remove it."
        )


@command
def repair(job: ChangeOptions, output: OutputOptions) -> None:
    """Find damaged, lost and unaccounted files, and bring the dataset to a valid state.

    Says what would be done; --yes does it. A shard that cannot be read loses its manifest entry, so
    that the command that made it makes it again; a file without an entry is adopted if every byte
    of it can be proven, else removed. The exit code is 0 if nothing is wrong or all of it was
    repaired, 3 if something is left.
    """
    from nightrain.datasets.upkeep.repair import find_damage, repair
    from nightrain.pipelines.inspect.dataset_card import write_card

    require_dataset(job.dataset)
    with progress_bar("shards", shown=not output.as_json) as bar:
        report = find_damage(job.dataset, bar.reach)
    if job.yes and report.findings:
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


@command
def upgrade(job: DatasetOptions, output: OutputOptions) -> None:
    """Bring a dataset of an earlier nightrain to today's columns and layout.

    Rewrites one shard after the other; an interrupted upgrade continues with the same command.
    """
    from nightrain.datasets.upkeep.upgrade import upgrade
    from nightrain.pipelines.inspect.dataset_card import write_card

    require_dataset(job.dataset)
    with progress_bar("shards", shown=not output.as_json) as bar:
        report = upgrade(job.dataset, bar.reach)
    write_card(job.dataset)
    if output.as_json:
        print_json(report)
        return
    out = console()
    for version, count in report.upgraded.items():
        out.print(f"upgraded {counted(count, 'shard')} from schema version {version}")
    if report.num_plans:
        out.print(f"upgraded {counted(report.num_plans, 'plan')} of frames")
    for name in report.recipes:
        out.print(f"recorded the variants of recipe {name}")
    total = report.num_current + sum(report.upgraded.values())
    out.print(f"schema version {report.version}: {counted(total, 'shard')}")
