"""The command `upgrade`: brings a dataset to today's schema version."""

from nightrain.flows.cli.console import console, counted, print_json, progress_bar
from nightrain.flows.cli.jobs import OutputOptions
from nightrain.flows.cli.options import command
from nightrain.pipelines.inspect.verify_job import DatasetOptions, require_dataset


@command
def upgrade(job: DatasetOptions, output: OutputOptions) -> None:
    """Bring a dataset of an earlier nightrain to today's columns and layout.

    Rewrites one shard after the other; an interrupted upgrade continues with the same command.
    """
    from nightrain.datasets.io.atomic import unwritable_is_refused
    from nightrain.datasets.upkeep.upgrade import upgrade
    from nightrain.pipelines.inspect.dataset_card import write_card

    require_dataset(job.dataset)
    with (
        unwritable_is_refused(job.dataset),
        progress_bar("shards", shown=not output.as_json) as bar,
    ):
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
