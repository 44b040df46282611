"""The command `demo`: the whole pipeline on the built-in world, offline, in a few minutes."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from nightrain.flows.cli.console import Bar, console, end, print_run, progress_bar
from nightrain.flows.cli.inspection import print_verification
from nightrain.flows.cli.jobs import OutputOptions, RunnerOptions
from nightrain.flows.cli.options import command
from nightrain.flows.runtime.runner import RunnerName, run_flow, server_words
from nightrain.pipelines.demo_job import DemoJob
from nightrain.pipelines.inspect.verify_job import VerifyJob
from nightrain.pipelines.runs.stop import Stop, stop_on_signals

if TYPE_CHECKING:
    from pydantic import BaseModel

    from nightrain.depthmodel.evaluation.tables import ComparisonTable
    from nightrain.pipelines.demo import DemoReport, StageReport

FLOW = "demo:clear_to_table"
STAGES = {  # by flow: description, unit of its progress bar
    "render-world": ("rendering streets with exact depth and LiDAR", "images"),
    "ingest-frames": ("reading their frames into shards", "frames"),
    "generate-variants": ("generating night and rain variants of the clear frames", "variants"),
    "train-teacher": ("training a teacher on clear frames and LiDAR", "steps"),
    "label-depth": ("labelling the clear frames with the teacher", "labels"),
    "train-student": ("training a student on labels, clear frames and variants", "steps"),
    "evaluate-depth": (
        "scoring them, and a constant median-depth baseline, in recorded weather",
        "frames",
    ),
}
LAST_STAGE = "verifying the dataset and drawing a contact sheet"


@command
def demo(job: DemoJob, options: RunnerOptions) -> None:
    """Run the whole pipeline on the built-in world, offline, in a few minutes.

    Renders a world, draws its weather by diffusion and by physics, trains a teacher and a student
    of each, and scores them by condition. Run the same command again to resume; finished stages
    are skipped.
    """
    run_demo(job, options)


def run_demo(job: DemoJob, options: RunnerOptions) -> None:
    """Run a demo job, describe each stage, and print the table of scores."""
    from nightrain.pipelines.demo import is_finished, render_job, require_same_job
    from nightrain.pipelines.recipes.recipe_file import load_recipe

    # An invalid request fails before a server is started.
    render_job(job).loaded_preset()
    for recipe in job.recipes:
        load_recipe(recipe)
    require_same_job(job)
    runner: RunnerName = "local" if is_finished(job) else options.runner
    if runner == "prefect":
        click.echo(server_words(FLOW), err=True)
    stop = Stop()
    with Narrator() as narrator:
        report = _run(job, runner, stop, narrator)
    if report.table is None:
        console().print("[yellow]stopped[/yellow]   run the same command again to resume")
        end(stop.exit_code)
    else:
        _print_results(job, report.table)


class Narrator:
    """Prints each stage of a demo: a description, a progress bar, and a report."""

    def __init__(self) -> None:
        self._shown, self._bar, self._last = ExitStack(), None, ""

    def __enter__(self) -> Narrator:
        return self

    def __exit__(self, *error: object) -> None:
        self._shown.close()

    def on_stage(self, name: str, report: object) -> None:
        """Open the bar of a starting stage (no report), or print the report of a finished one."""
        _, unit = STAGES[name]
        if report is None:
            if name != self._last:
                _say(name)
            self._last = name
            self._bar = self._shown.enter_context(progress_bar(unit))
        else:
            self._shown.close()
            _print_report(report, unit)

    def on_planned(self, count: int) -> None:
        """Add a count of rows to the bar's total."""
        self._open_bar.expect(count)

    def on_rows(self, count: int) -> None:
        """Advance the bar by a count of rows."""
        self._open_bar.add(count)

    def on_step(self, done: int, total: int) -> None:
        """Set the bar to `done` of `total` steps."""
        self._open_bar.reach(done, total)

    @property
    def _open_bar(self) -> Bar:
        assert self._bar is not None, "a stage reports progress only after it has begun"
        return self._bar


def print_table(table: ComparisonTable) -> None:
    """Print scores by condition, one line per model."""
    from rich.table import Table

    printed = Table(box=None, pad_edge=False)
    for name in ("condition", "images", "model", *table.metrics):
        words = name in ("condition", "model")
        printed.add_column(name, justify="left" if words else "right")
    means = {(c.arm, c.bucket, c.metric): c.mean for c in table.cells}
    for bucket in (b for b in table.buckets if b.num_images):
        for k, arm in enumerate(table.num_evaluations):
            first = ("", "") if k else (bucket.bucket, str(bucket.num_images))
            numbers = [f"{means[arm, bucket.bucket, m]:.3f}" for m in table.metrics]
            printed.add_row(*first, arm, *numbers)
    console().print(printed)
    settings = table.settings
    console().print(
        f"{settings.truth} depth from {settings.min_depth_m:g} to {table.cap_m:g} m; abs_rel and "
        "rmse: lower is better, d1: higher"
    )


def _run(job: DemoJob, runner: RunnerName, stop: Stop, narrator: Narrator) -> DemoReport:
    from nightrain.pipelines.demo import clear_to_table, run_here

    if runner == "prefect":
        return run_flow(
            FLOW,
            job,
            stop,
            on_stage=narrator.on_stage,
            on_planned=narrator.on_planned,
            on_rows=narrator.on_rows,
            on_step=narrator.on_step,
        )

    def run_stage(name: str, stage: BaseModel) -> StageReport:
        narrator.on_stage(name, None)
        report = run_here(
            name,
            stage,
            stop=stop,
            on_planned=narrator.on_planned,
            on_rows=narrator.on_rows,
            on_step=narrator.on_step,
        )
        narrator.on_stage(name, report)
        return report

    with stop_on_signals(stop):
        return clear_to_table(job, run_stage)


def _print_results(job: DemoJob, table: ComparisonTable) -> None:
    from nightrain.pipelines.demo import student
    from nightrain.pipelines.generate.preview import write_preview
    from nightrain.pipelines.recipes.recipe_file import load_recipe

    _say()
    print_verification(VerifyJob(dataset=job.dataset), OutputOptions())
    results = [("shards", job.dataset)]
    for recipe in map(load_recipe, job.recipes):
        only = len(job.recipes) == 1
        sheet = job.out / ("contact-sheet.png" if only else f"contact-sheet-{recipe.name}.png")
        write_preview(job.dataset, recipe, sheet, 4, 8)
        results.append(("contact sheet", sheet))
    print_table(table)
    for recipe in job.recipes:
        maps = job.out / "evaluation" / student(job, recipe) / "error-maps.png"
        results.append(("error maps", maps))
    results.append(("table", job.out / "table.md"))
    lines = (f"{what:<15}{path}" for what, path in results)
    console().print("\n" + "\n".join(lines), soft_wrap=True)


def _say(name: str = "") -> None:
    step = [*STAGES, ""].index(name) + 1
    what = STAGES[name][0] if name else LAST_STAGE
    console().print(f"\n[bold]{step}/{len(STAGES) + 1} {what}[/bold]")


def _print_report(report: Any, unit: str) -> None:
    from nightrain.pipelines.runs.run import RunReport

    if isinstance(report, RunReport):
        print_run(report, unit)
    else:
        console().print(report.line, markup=False)
