"""The command `prune`: removes shards that are no longer needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from nightrain.flows.cli.console import console, counted, print_json
from nightrain.flows.cli.jobs import OutputOptions
from nightrain.flows.cli.options import command
from nightrain.flows.cli.upkeep.options import ChangeOptions
from nightrain.pipelines.inspect.verify_job import require_dataset

if TYPE_CHECKING:
    from nightrain.datasets.upkeep.prune import PrunePlan


class PruneOptions(ChangeOptions):
    """Options of `nightrain prune`."""

    variants: str = Field(
        default="", description="Remove variants: a recipe's name, a folder, or a hash"
    )
    labels: str = Field(default="", description="Remove labels: their name, or the teacher's")
    captions: str = Field(default="", description="Remove captions: their name, or the captioner's")
    controls: str = Field(
        default="", description="Remove control maps: their name, or the network's"
    )
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
    """Remove variants, labels, captions, control maps or the quarantine, if no longer needed.

    Says what would be removed; --yes removes it. Frames are never removed. While another process
    makes shards of the dataset, nothing is removed; programs that read the removed shards at the
    time get an error on files that they have not opened yet.
    """
    from nightrain.datasets.io.atomic import require_writable
    from nightrain.datasets.upkeep.prune import PruneSelection, plan_prune, prune
    from nightrain.pipelines.inspect.dataset_card import write_card

    require_dataset(job.dataset)
    selection = PruneSelection(**job.model_dump(exclude={"dataset", "yes"}))
    plan = plan_prune(job.dataset, selection)
    if job.yes and plan.tables:
        require_writable(job.dataset)
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
