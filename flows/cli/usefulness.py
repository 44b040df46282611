"""The command `usefulness`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from nightrain.flows.cli.console import EXIT_INCOMPLETE, end, print_json, progress_bar
from nightrain.flows.cli.modes import Runner, check_mode, run_long_flow, say_server

if TYPE_CHECKING:
    from prefect import Flow

Value = TypeVar("Value")


def usefulness(
    dataset: Annotated[Path, typer.Argument(help="Folder of the dataset", exists=True)],
    teacher: Annotated[Path, typer.Option(help="Model folder of the teacher", exists=True)],
    variants: Annotated[str, typer.Option(help="Recipe whose variants are shown")],
    out: Annotated[Path, typer.Option(help="Folder of the study; the same one goes on with it")],
    arms: Annotated[str, typer.Option(help="Names: clear,weather; all by default")] = "",
    seeds: Annotated[str, typer.Option(help="At least 3 decide something")] = "0,1,2",
    dose: Annotated[
        str, typer.Option(help="Further shares of synthetic samples, as arms: 0.1,0.9")
    ] = "",
    labels: Annotated[
        str, typer.Option(help="Folder below labels/; not needed where there is one")
    ] = "",
    steps: Annotated[int | None, typer.Option(min=1, help="Steps; those of world-student")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Batch; world-student's")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Runs side by side, a thread each")] = 1,
    device: Annotated[str, typer.Option(help="cpu: stay off a GPU")] = "",
    runner: Runner = "prefect",
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON")] = False,
) -> None:
    """Train students with and without variants at equal compute and test them on true weather.

    Written are usefulness.md and usefulness.json, after every run; the same command goes on after
    any interruption, and further arms and seeds join the same folder.
    """
    from nightrain.pipelines.runs.stop import Stop, stop_on_signals
    from nightrain.pipelines.usefulness.job import UsefulnessJob
    from nightrain.pipelines.usefulness.plan import plan_study
    from nightrain.pipelines.usefulness.study import run_usefulness

    check_mode(runner)
    numbers = _listed("--seeds", seeds, int)
    if not numbers or min(numbers) < 0:
        raise typer.BadParameter(f"--seeds is {seeds!r}; expected numbers from 0 on, like 0,1,2")
    job = UsefulnessJob(
        dataset=dataset.resolve(),
        teacher=teacher.resolve(),
        variants=variants,
        out=out.resolve(),
        arms=_listed("--arms", arms, str),
        dose=_listed("--dose", dose, float),
        seeds=numbers,
        labels=labels or None,
        steps=steps,
        batch_size=batch_size,
        workers=workers,
        device="cpu" if device == "cpu" else "auto",
    )
    plan, stop = plan_study(job), Stop()  # what is refused is said before a server is started
    if runner == "prefect" and not json:
        say_server("usefulness")
    num_steps = sum(run.config.num_steps for run in plan.runs)
    with _said(not json), progress_bar("steps", num_steps, not json) as bar:
        if runner == "local":
            with stop_on_signals(stop):
                report = run_usefulness(job, stop=stop, on_step=bar.reach)
        else:
            report = run_long_flow(_flow, job, stop, bar.reach)
    if json:
        print_json(report)
    else:
        typer.echo((out / "usefulness.md").read_text())
        typer.echo(report.line)
    end(stop.exit_code if report.stopped else EXIT_INCOMPLETE if report.num_failed else 0)


def _listed(option: str, text: str, kind: Callable[[str], Value]) -> tuple[Value, ...]:
    """Values between commas or blanks, each once; raises typer.BadParameter."""
    try:
        values = tuple(kind(part) for part in text.replace(",", " ").split())
    except ValueError as error:
        raise typer.BadParameter(f"{option} is {text!r}; expected values like 0,1,2") from error
    if len(set(values)) != len(values):
        raise typer.BadParameter(f"{option} is {text!r}, which names something twice")
    return values


@contextmanager
def _said(shown: bool) -> Iterator[None]:
    """Print what the study says as it goes on."""

    class Printed(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            typer.echo(record.getMessage())

    logger, handler = logging.getLogger("nightrain.pipelines.usefulness"), Printed(logging.INFO)
    before = logger.level
    if shown:
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)


def _flow() -> Flow[..., Any]:
    from nightrain.flows.usefulness import usefulness

    return usefulness
