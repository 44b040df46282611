"""The command that labels clear frames with a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.console import end, exit_code, one_of, print_json, print_run, progress_bar

if TYPE_CHECKING:
    from pipelines.labels.job import LabelJob
    from pipelines.run import RunReport
    from pipelines.shardwork import OnRows
    from pipelines.stop import Stop

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
    engine_mode: Annotated[str, typer.Option(help="local: in this process")] = "local",
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
    from datasets.frame import Condition
    from flows.cli.data import parse_size
    from pipelines.labels.job import LabelJob
    from pipelines.labels.settings import LabelSettings
    from pipelines.stop import Stop

    one_of("--engine-mode", engine_mode, ("local",))
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
    stop = Stop()
    with progress_bar("labels", _num_left(job), not json) as bar:
        report = run_local(job, stop, bar.add)
    if json:
        print_json(report)
    else:
        print_run(report, "labels")
    end(exit_code(report, stop.exit_code))


def run_local(job: LabelJob, stop: Stop, on_rows: OnRows) -> RunReport:
    """The job in plain Python: serial, or in processes."""
    from pipelines.execute import ProcessExecutor, SerialExecutor
    from pipelines.labels.job import label as run
    from pipelines.stop import stop_on_signals

    serial = job.num_workers == 1
    executor = SerialExecutor(stop) if serial else ProcessExecutor(job.num_workers, stop)
    with stop_on_signals(stop):
        return run(job, executor=executor, stop=stop, on_rows=on_rows)


def _num_left(job: LabelJob) -> int:
    """Frames of a job whose labels are not committed."""
    from datasets.catalog import Catalog

    plan = job.plan()
    entries = [Catalog(job.dataset).entry(shard) for shard in plan.shards]
    return plan.num_frames - sum(e.rows.num_rows for e in entries if e is not None)
