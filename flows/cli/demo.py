"""The command `demo`: the whole way on the built-in world, offline, in a few minutes."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nightrain.flows.cli.console import Bar, console, end, print_run, progress_bar
from nightrain.flows.cli.modes import Runner, check_mode, run_long_flow, say_server

if TYPE_CHECKING:
    from prefect import Flow
    from pydantic import BaseModel

    from nightrain.depthmodel.evaluation.tables import ComparisonTable
    from nightrain.pipelines.demo import DemoReport, StageReport
    from nightrain.pipelines.demo_job import DemoJob
    from nightrain.pipelines.runs.stop import Stop

STAGES = {  # by flow: what is said of it, what its bar counts
    "render-world": ("rendering streets with exact depth and LiDAR", "images"),
    "ingest-frames": ("reading their frames into shards", "frames"),
    "generate-variants": (
        "making night, rain, snow, fog and night-rain of clear frames",
        "variants",
    ),
    "train-teacher": ("training a teacher on clear frames and LiDAR", "steps"),
    "label-depth": ("labelling the clear frames with it", "labels"),
    "train-student": ("training a student on the labels, clear frames, night and rain", "steps"),
    "evaluate-depth": (
        "scoring both, and a median picture that sees nothing, under true weather",
        "frames",
    ),
}
LOOKING = "re-hashing everything and looking at it"


def demo(
    out: Annotated[Path, typer.Option(help="Folder to make or to go on with")] = Path("demo"),
    runner: Runner = "prefect",
) -> None:
    """Render a world, make its weather, train a teacher and a student, score them by condition.

    Run it again to go on after any interruption; what is made is not made again.
    """
    from nightrain.pipelines.demo_job import DemoJob

    run_demo(DemoJob(out=out), runner)


def run_demo(job: DemoJob, runner: str) -> None:
    """Run a whole job, say what it does, and show what came out."""
    from nightrain.pipelines.demo import require_same_job
    from nightrain.pipelines.runs.stop import Stop

    check_mode(runner)
    require_same_job(job)  # what is refused is said before a server is started
    if runner == "prefect":
        say_server("clear-to-table")
    stop = Stop()
    with Narrator() as narrator:
        report = _run(job, runner, stop, narrator)
    if report.table is None:
        console().print("[yellow]stopped[/yellow]   on request; the same command goes on from here")
        end(stop.exit_code)
    else:
        _look(job, report.table)


class Narrator:
    """Says which stage begins, shows its progress, and what it made."""

    def __init__(self) -> None:
        self._shown, self._bar, self._last = ExitStack(), None, ""

    def __enter__(self) -> Narrator:
        return self

    def __exit__(self, *error: object) -> None:
        self._shown.close()

    def on_stage(self, name: str, report: object) -> None:
        """A stage begins (no report) or has ended."""
        _, unit = STAGES[name]
        if report is None:
            if name != self._last:
                _say(name)
            self._last = name
            self._bar = self._shown.enter_context(progress_bar(unit))
        else:
            self._shown.close()
            _print_report(report, unit)

    def on_rows(self, count: int) -> None:
        """So many rows more."""
        self._watched.add(count)

    def on_step(self, done: int, total: int) -> None:
        """So many steps of so many."""
        self._watched.reach(done, total)

    @property
    def _watched(self) -> Bar:
        assert self._bar is not None, "a stage reports progress only after it has begun"
        return self._bar


def print_table(table: ComparisonTable) -> None:
    """Print models by condition, one line each."""
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


def _run(job: DemoJob, runner: str, stop: Stop, narrator: Narrator) -> DemoReport:
    from nightrain.pipelines.demo import clear_to_table, run_here
    from nightrain.pipelines.runs.stop import stop_on_signals

    if runner == "prefect":
        watchers = {"on_rows": narrator.on_rows, "on_stage": narrator.on_stage}
        return run_long_flow(_flow, job, stop, narrator.on_step, **watchers)

    def run_stage(name: str, stage: BaseModel) -> StageReport:
        narrator.on_stage(name, None)
        report = run_here(
            name, stage, stop=stop, on_rows=narrator.on_rows, on_step=narrator.on_step
        )
        narrator.on_stage(name, report)
        return report

    with stop_on_signals(stop):
        return clear_to_table(job, run_stage)


def _flow() -> Flow[..., Any]:
    from nightrain.flows.demo import clear_to_table

    return clear_to_table


def _look(job: DemoJob, table: ComparisonTable) -> None:
    from nightrain.flows.cli import inspection
    from nightrain.pipelines.generate.preview import write_preview
    from nightrain.pipelines.recipes.recipe_file import load_recipe

    _say()
    inspection.verify(job.dataset, False)
    sheet = job.out / "contact-sheet.png"
    write_preview(job.dataset, load_recipe(job.recipe), sheet, 4, 8)
    print_table(table)
    console().print(
        f"\nshards         {job.dataset}\ncontact sheet  {sheet}\n"
        f"error maps     {job.out / 'evaluation' / 'student' / 'error-maps.png'}\n"
        f"table          {job.out / 'table.md'}"
    )


def _say(name: str = "") -> None:
    step = [*STAGES, ""].index(name) + 1
    what = STAGES[name][0] if name else LOOKING
    console().print(f"\n[bold]{step}/{len(STAGES) + 1} {what}[/bold]")


def _print_report(report: Any, unit: str) -> None:
    from nightrain.pipelines.runs.run import RunReport

    if isinstance(report, RunReport):
        print_run(report, unit)
    else:
        console().print(report.line, markup=False)
