"""The command that labels clear frames with a teacher."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nightrain.flows.cli.console import end, exit_code, one_of, print_json, print_run, progress_bar
from nightrain.flows.cli.modes import Runner, check_mode, run_flow, run_local, say_server

if TYPE_CHECKING:
    from prefect import Flow

    from nightrain.pipelines.labels.job import LabelJob

Dataset = Annotated[Path, typer.Argument(help="Folder of the dataset", exists=True)]


def label(
    dataset: Dataset,
    teacher: Annotated[Path, typer.Option(help="Folder of a trained depth model")],
    name: Annotated[str, typer.Option(help="Name of the teacher; the folder's by default")] = "",
    device: Annotated[str, typer.Option(help="cpu, cuda; the GPU where there is one")] = "",
    condition: Annotated[
        list[str] | None, typer.Option(help="Frames to label; may be given again; clear")
    ] = None,
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT of the labels; the frame's own")] = "",
    confidence: Annotated[
        str, typer.Option(help="flip, or flip+photometric where neighbours exist")
    ] = "flip+photometric",
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures at once")] = 8,
    runner: Runner = "prefect",
    workers: Annotated[int, typer.Option(min=1, help="Shards labelled side by side")] = 1,
    include_evaluation_scenes: Annotated[
        bool,
        typer.Option(
            "--include-evaluation-scenes",
            help="Also label val and test scenes; never train on these labels",
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON")] = False,
) -> None:
    """Predict depth of the clear frames, with a confidence, and store it beside them."""
    from nightrain.datasets.conditions import Condition
    from nightrain.flows.cli.world import parse_size
    from nightrain.pipelines.labels.job import LabelJob
    from nightrain.pipelines.labels.job import label as run
    from nightrain.pipelines.labels.settings import LabelSettings
    from nightrain.pipelines.runs.stop import Stop

    check_mode(runner)
    conditions = [one_of("--condition", c, tuple(Condition)) for c in condition or ["clear"]]
    job = LabelJob(
        dataset=dataset.resolve(),
        teacher=teacher.resolve(),
        name=name,
        device=device or None,
        settings=LabelSettings(
            size=parse_size(size) if size else None,
            confidence=one_of("--confidence", confidence, ("flip", "flip+photometric")),
            batch_size=batch_size,
        ),
        conditions=tuple(conditions),
        num_workers=workers,
        include_evaluation_scenes=include_evaluation_scenes,
    )
    stop, num_left = Stop(), _num_left(job)  # what is refused is said before a server is started
    if runner == "prefect" and not json:
        say_server("label-depth")
    with progress_bar("labels", num_left, not json) as bar:
        if runner == "local":
            report = run_local(partial(run, job), job.num_workers, stop, bar.add)
        else:
            report = run_flow(_flow, job, stop, bar.add)
    if json:
        print_json(report)
    else:
        print_run(report, "labels")
    end(exit_code(report, stop.exit_code))


def _num_left(job: LabelJob) -> int:
    """Frames of a job whose labels are not committed."""
    from nightrain.datasets.shards.manifest import Manifest

    plan = job.plan()
    entries = [Manifest(job.dataset).entry(shard) for shard in plan.shards]
    return plan.num_frames - sum(e.rows.num_rows for e in entries if e is not None)


def _flow() -> Flow[..., Any]:
    from nightrain.flows.label import label_depth

    return label_depth
