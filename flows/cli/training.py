"""The command `train`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nightrain.flows.cli.console import end, print_json, progress_bar
from nightrain.flows.cli.modes import Runner, check_mode, run_long_flow, say_server

if TYPE_CHECKING:
    from prefect import Flow


def train(
    preset: Annotated[
        str,
        typer.Argument(help="Preset of the run; an unknown name lists them all"),
    ],
    dataset: Annotated[Path, typer.Argument(help="Folder of the dataset", exists=True)],
    out: Annotated[Path, typer.Option(help="Folder of the run; the same one goes on with it")],
    variants: Annotated[
        list[str] | None, typer.Option(help="Recipe whose variants a student sees; repeatable")
    ] = None,
    labels: Annotated[
        str, typer.Option(help="Folder below labels/; not needed where there is one")
    ] = "",
    teacher: Annotated[
        Path | None, typer.Option(help="Model folder of a student's teacher", exists=True)
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option(help="Model folder whose weights start the same parts", exists=True),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps; the preset's")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Batch; the preset's")] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that read")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="For TensorBoard, too")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu: stay off a GPU")] = "",
    runner: Runner = "prefect",
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON")] = False,
) -> None:
    """Train a teacher, a student or parts of a network; the same command goes on after a stop."""
    from nightrain.pipelines.depth.train_job import TrainJob, train_network
    from nightrain.pipelines.runs.stop import Stop, stop_on_signals

    check_mode(runner)
    job = TrainJob(
        preset=preset,
        dataset=dataset.resolve(),
        out=out.resolve(),
        variants=tuple(variants or ()),
        labels=labels or None,
        teacher=teacher,
        base=base,
        steps=steps,
        batch_size=batch_size,
        workers=workers,
        seed=seed,
        tensorboard=tensorboard,
        device="cpu" if device == "cpu" else "auto",
    )
    config, stop = job.config(), Stop()  # what is refused is said before a server is started
    role = config.role.kind()
    if runner == "prefect" and not json:
        say_server(f"train-{role}")
    with progress_bar("steps", config.num_steps, not json) as bar:
        if runner == "local":
            with stop_on_signals(stop):
                report = train_network(job, stop=stop, on_step=bar.reach)
        else:
            report = run_long_flow(partial(_flow, role), job, stop, bar.reach)
    if json:
        print_json(report)
    else:
        typer.echo(report.line)
    end(stop.exit_code if report.stopped else 0)


def _flow(role: str) -> Flow[..., Any]:
    from nightrain.flows.train import train_restorer, train_student, train_teacher

    flows = {"student": train_student, "teacher": train_teacher, "restorer": train_restorer}
    return flows[role]
