"""The command `evaluate`: scores a depth model by condition."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nightrain.depthmodel.evaluation.settings import BUCKETS, SCALING_WORDS
from nightrain.flows.cli.console import console, end, print_json
from nightrain.flows.cli.jobs import LocalFirst, run_long_job
from nightrain.flows.cli.options import command
from nightrain.pipelines.depth.evaluation_job import EvaluationJob, evaluate_model

if TYPE_CHECKING:
    from nightrain.depthmodel.evaluation.results import Evaluation

PRINTED_METRICS = ("abs_rel", "sq_rel", "rmse", "silog", "d1")  # fit 80 columns


@command
def evaluate(job: EvaluationJob, options: LocalFirst) -> None:
    """Score a depth model by condition.

    The protocols are md4all's, KITTI's and the dataset's own. The output folder contains
    evaluation.json, images.parquet with the scores of every image, tables.md and tables.json with
    all depth caps and scalings (metric, median-scaled, averaged with the flipped image), and
    error-maps.png.
    """
    from nightrain.depthmodel.evaluation.results import read_evaluation

    report, stop = run_long_job(
        job, evaluate_model, flow="evaluate:evaluate_depth", unit="frames", options=options
    )
    if report.stopped:
        click.echo(report.line)
        end(stop.exit_code)
    evaluation = read_evaluation(job.folder)
    if options.as_json:
        print_json(evaluation)
    else:
        print_evaluation(evaluation, job.folder)


def print_evaluation(evaluation: "Evaluation", folder: Path) -> None:
    """Print an evaluation's main depth cap and first scaling as a table by condition."""
    from rich.markup import escape
    from rich.table import Table

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
