"""The group `ingest`: one command per source, built in or from an installed package."""

from functools import partial

import click

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.sources.base import FrameSource
from nightrain.datasets.sources.registry import SOURCES
from nightrain.flows.cli.console import (
    console,
    end,
    ingest_exit_code,
    print_bad_frames,
    print_json,
    print_run,
    progress_bar,
)
from nightrain.flows.cli.group import HelpContext
from nightrain.flows.cli.jobs import LocalFirst, run_shards
from nightrain.flows.cli.options import model_command
from nightrain.pipelines.ingest.job import IngestJob, ingest_job_model
from nightrain.pipelines.ingest.job import ingest as ingest_job
from nightrain.pipelines.runs.stop import Stop


class SourceGroup(click.Group):
    """Group with one command per source; a source is imported when it is used or listed."""

    context_class = HelpContext

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the names of the sources."""
        return SOURCES.names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        """Make a source's command; raises InvalidRequest if the source cannot be loaded."""
        models = {"job": ingest_job_model(cmd_name), "options": LocalFirst}
        return model_command(cmd_name, run_ingest, models, SOURCES.load(cmd_name).summary)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sources with their summaries, or the reason why one is unavailable."""
        with formatter.section("Sources"):
            formatter.write_dl([(name, _summary(name)) for name in SOURCES.names()])


def _summary(name: str) -> str:
    try:
        return SOURCES.load(name).summary
    except InvalidRequest as error:
        return f"(unavailable) {error}"


ingest = SourceGroup(
    "ingest",
    no_args_is_help=True,
    subcommand_metavar="SOURCE [OPTIONS] ...",
    context_settings={"max_content_width": 100},
    help="Read the frames of a data set into a dataset of shards.\n\nDamaged frames are "
    "quarantined, and all others are read; the exit code is then 3, or 0 with --skip-bad.",
)


def run_ingest(job: IngestJob, options: LocalFirst) -> None:
    """Read the frames of a source, report them, and end the command."""
    flow, stop = "ingest:ingest_frames", Stop()
    with progress_bar("frames", shown=not options.as_json) as bar:

        def on_listed(source: FrameSource, num_frames: int) -> None:
            bar.expect(num_frames)
            for note in source.notes if not options.as_json else ():
                console().print(f"[yellow]note[/yellow]      {note}")

        work = partial(ingest_job, on_listed=on_listed)
        report = run_shards(
            job, work, flow=flow, options=options, bar=bar, stop=stop, num_workers=job.num_workers
        )
    if options.as_json:
        print_json(report)
    else:
        print_run(report, "frames")
        print_bad_frames(report, job.dataset, job.config.skip_bad)
    end(ingest_exit_code(report, stop.exit_code, job.config.skip_bad))
