"""The command `evaluate`: a depth model on the frames of a split, by condition."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from nightrain.flows.cli.console import console, end, one_of, print_json, progress_bar
from nightrain.flows.cli.modes import Runner, check_mode, run_long_flow, say_server

if TYPE_CHECKING:
    from prefect import Flow

    from nightrain.depthmodel.evaluation.results import Evaluation

TRUTHS = ("lidar", "exact")
PRINTED_METRICS = ("abs_rel", "sq_rel", "rmse", "silog", "d1")  # fit 80 columns


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="Folder of a trained model; median-depth is the train set's median picture, "
            "which a model must beat"
        ),
    ],
    dataset: Annotated[Path, typer.Argument(help="Folder of the dataset", exists=True)],
    protocol: Annotated[
        str,
        typer.Option(
            help="own, md4all-nuscenes, md4all-robotcar, kitti-eigen or kitti-eigen-full (the "
            "other order of crops); the options below override it"
        ),
    ] = "own",
    split: Annotated[str | None, typer.Option(help="Split to score (own: val)")] = None,
    truth: Annotated[
        str | None, typer.Option(help="lidar, or exact of rendered worlds (own: lidar)")
    ] = None,
    cap: Annotated[
        list[float] | None,
        typer.Option(help="Metres up to which truth counts; may be repeated (own: 80 and 50)"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for scores, tables, pictures (default: evaluation-MODEL)"),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    batch_size: Annotated[int, typer.Option(min=1, help="Images predicted at once")] = 4,
    pictures: Annotated[
        int, typer.Option(min=0, help="Frames per condition on the sheet of error maps")
    ] = 2,
    runner: Runner = "local",
    json: Annotated[bool, typer.Option("--json", help="Print the evaluation as JSON")] = False,
) -> None:
    """Score a depth model by condition as md4all does, and on KITTI's protocol.

    It runs without a server unless asked: scoring takes seconds, and so does a server's start.
    Written are evaluation.json, images.parquet with the scores of every image, tables.md and
    tables.json for all caps and scalings (metric, median-scaled, averaged with the flipped image),
    and error-maps.png.
    """
    check_mode(runner)
    from pydantic import ValidationError

    from nightrain.depthmodel.evaluation.results import read_evaluation
    from nightrain.depthmodel.evaluation.settings import PROTOCOLS
    from nightrain.pipelines.depth.evaluation_job import EvaluationJob, evaluate_model
    from nightrain.pipelines.runs.stop import Stop, stop_on_signals

    one_of("--truth", truth or "lidar", TRUTHS)
    one_of("--protocol", protocol, tuple(PROTOCOLS))
    try:
        job = EvaluationJob(
            model=model,
            dataset=dataset,
            protocol=protocol,
            split=split,
            truth=cast("Literal['lidar', 'exact'] | None", truth),
            cap=tuple(cap or ()),
            out=out,
            device=device,
            batch_size=batch_size,
            pictures=pictures,
        )
    except ValidationError as error:
        raise typer.BadParameter(error.errors()[0]["msg"]) from error
    folder, stop = job.folder, Stop()
    if runner == "prefect" and not json:
        say_server("evaluate-depth")
    with progress_bar("frames", shown=not json) as bar:
        if runner == "local":
            with stop_on_signals(stop):
                report = evaluate_model(job, stop=stop, on_step=bar.reach)
        else:
            report = run_long_flow(_flow, job, stop, bar.reach)
    if report.stopped:
        typer.echo(report.line)
        end(stop.exit_code)
    evaluation = read_evaluation(folder)
    if json:
        print_json(evaluation)
    else:
        print_evaluation(evaluation, folder)


def print_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """Print the main cap and first scaling of an evaluation as a table by condition."""
    from rich.markup import escape
    from rich.table import Table

    from nightrain.depthmodel.evaluation.settings import BUCKETS, SCALING_WORDS

    out, settings = console(), evaluation.settings
    scaling, cap_m = settings.scalings[0], settings.caps_m[0]
    table = Table(box=None, pad_edge=False)
    for name in ("condition", "images", "scenes", "skipped", *PRINTED_METRICS):
        table.add_column(name, justify="left" if name == "condition" else "right")
    for bucket in BUCKETS:
        score = evaluation.score(bucket.name, cap_m, scaling)
        counts = [str(n) for n in (score.num_images, score.num_scenes, score.num_skipped)]
        means = (
            ["no images"]
            if score.metrics is None
            else [f"{score.metrics[name].mean:.3f}" for name in PRINTED_METRICS]
        )
        table.add_row(bucket.name, *counts, *means)
    out.print(table)
    out.print(
        f"{settings.truth} depth from {settings.min_depth_m:g} to {cap_m:g} m, "
        f"{SCALING_WORDS[scaling]}; other caps and scalings in {escape(str(folder))}/tables.md"
    )


def _flow() -> Flow[..., Any]:
    from nightrain.flows.evaluate import evaluate_depth

    return evaluate_depth
