"""The group `ingest`, one command per source, and `world`, which renders the built-in one."""

from functools import partial

import click

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.sources.base import FrameSource
from nightrain.datasets.sources.registry import SOURCES
from nightrain.datasets.world.export.writer import WorldReport
from nightrain.flows.cli.console import (
    EXIT_INCOMPLETE,
    console,
    counted,
    end,
    ingest_exit_code,
    print_bad_frames,
    print_json,
    print_run,
    progress_bar,
)
from nightrain.flows.cli.group import HelpContext
from nightrain.flows.cli.jobs import LocalFirst, run_shards
from nightrain.flows.cli.options import command, model_command
from nightrain.pipelines.ingest.built_in_world import RenderJob, failed_scenes, render_missing
from nightrain.pipelines.ingest.job import IngestJob, ingest_job_model
from nightrain.pipelines.ingest.job import ingest as ingest_job
from nightrain.pipelines.runs.stop import Stop, WorkCancelled, stop_on_signals, unless_stopped


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

        def on_listed(source: FrameSource) -> None:
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


@command
def world(job: RenderJob) -> None:
    """Render the built-in driving world: streets in all weathers, with exact depth.

    The folder contains images, LiDAR, poses and boxes in the nuScenes layout, plus depth, classes,
    instances and optical flow. All scenes of one place show the same drive under different
    conditions. Run the same command again to resume; finished scenes are kept. A scene that fails
    is listed in failed_scenes.json and left out (exit code 3).
    """
    job.loaded_preset()  # an unknown preset fails before anything is printed
    stop = Stop()
    try:
        with stop_on_signals(stop), progress_bar("images", shown=True) as bar:
            report = render_missing(job, unless_stopped(stop, bar.reach))
    except WorkCancelled:
        console().print("[yellow]stopped[/yellow]   run the same command again to resume")
        end(stop.exit_code)
        return
    _print_world(job, report)
    end(EXIT_INCOMPLETE if report.failed else 0)


def _print_world(job: RenderJob, report: WorldReport) -> None:
    from rich.markup import escape

    for scene in report.failed:
        words = escape(f"{scene.error} ({scene.where})")
        console().print(f"[red]failed[/red]    {scene.name}: {words}")
    counts = ", ".join(f"{count} {name}" for name, count in report.scenes_by_condition.items())
    before = report.num_scenes_before
    earlier = f"; {counted(before, 'scene')} from an earlier run" if before else ""
    console().print(
        f"[green]rendered[/green]  {job.out}: {report.num_keyframes} keyframes in "
        f"{report.num_scenes} scenes ({counts}), {report.num_images} images, "
        f"{report.num_lidar_sweeps} LiDAR sweeps, {report.num_bytes / 1e6:.1f} MB{earlier}"
    )
    if report.failed:
        console().print(failed_scenes(job, report))
