"""Commands that train and score networks: `train`, `preset`, `evaluate` and `usefulness`."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nightrain.datasets.splits import NO_SPLIT
from nightrain.depthmodel.evaluation.settings import BUCKETS, SCALING_WORDS
from nightrain.flows.cli.console import EXIT_INCOMPLETE, console, end, print_json, say
from nightrain.flows.cli.jobs import FlowOptions, LocalFirst, is_launched, rank, run_long_job
from nightrain.flows.cli.options import command
from nightrain.pipelines.depth.evaluation_job import EvaluationJob, evaluate_model
from nightrain.pipelines.depth.train_job import ConfigSource, TrainJob, composed, train_network
from nightrain.pipelines.usefulness.job import UsefulnessJob

if TYPE_CHECKING:
    from nightrain.depthmodel.evaluation.results import Evaluation

PRINTED_METRICS = ("abs_rel", "sq_rel", "rmse", "silog", "d1")  # fit 80 columns
FLOWS_OF_ROLES = ("teacher", "student", "restorer")  # train-network trains any other role


@command
def train(job: TrainJob, options: FlowOptions) -> None:
    """Train a depth network from a preset.

    Presets train teachers on clear frames, students on labels and variants, and restorers on
    measured depth. Run the same command again to resume. On several GPUs, start it with torchrun
    or accelerate launch; it then runs without a server.
    """
    from nightrain.datasets.loader.index import build_index
    from nightrain.depthmodel.training.run_folder import finished_digest

    if is_launched():
        options = options.model_copy(update={"runner": "local"})
    config = job.config()  # an invalid request fails before a server is started
    kind, finished = config.role.kind(), bool(finished_digest(job.out, config.num_steps))
    if options.runner == "prefect" and not finished:
        build_index(job.dataset, config.data)  # and so do missing frames, labels and variants
    report, stop = run_long_job(
        job,
        train_network,
        flow=f"train:train_{kind if kind in FLOWS_OF_ROLES else 'network'}",
        unit="steps",
        options=options,
        total=config.num_steps,
        finished=finished,
    )
    if rank() == 0 and options.as_json:
        print_json(report)
    elif rank() == 0:
        say(report.line)
    end(stop.exit_code if report.stopped else 0)


@command
def preset(source: ConfigSource) -> None:
    """Print a preset's complete configuration as YAML, or the names of all presets.

    Save and edit it for `nightrain train --config`. What a preset takes from the command line
    (labels, variants, model folders) is null or empty.
    """
    from nightrain.depthmodel.training.config_changes import as_yaml
    from nightrain.depthmodel.training.preset_registry import PRESETS

    if source.preset is None and source.config_file is None:
        click.echo("\n".join(PRESETS))
        return
    fields = composed(source.preset, source.config_file, source.changes)
    click.echo(as_yaml(fields), nl=False)


@command
def evaluate(job: EvaluationJob, options: LocalFirst) -> None:
    """Score a depth model by condition.

    The protocols are md4all's, KITTI's and the dataset's own. The output folder contains
    evaluation.json, images.parquet with the scores of every image, tables.md and tables.json with
    all depth caps and scalings (metric, median-scaled, averaged with the flipped image), and
    error-maps.png.
    """
    from nightrain.depthmodel.evaluation.results import read_evaluation

    job.settings()  # an invalid request fails before a server is started
    report, stop = run_long_job(
        job, evaluate_model, flow="evaluate:evaluate_depth", unit="frames", options=options
    )
    if report.stopped:
        say(report.line)
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
    if settings.split == NO_SPLIT:
        out.print("These frames are in no split list, so the model may have been trained on them.")


@command
def usefulness(job: UsefulnessJob, options: FlowOptions) -> None:
    """Compare students trained with and without variants.

    All arms get equal compute and are tested on recorded weather. The tables usefulness.md and
    usefulness.json are updated after each run. Run the same command again to resume; more arms and
    seeds extend the study in the same folder.
    """
    from nightrain.pipelines.usefulness.plan import plan_study
    from nightrain.pipelines.usefulness.run_arms import is_done
    from nightrain.pipelines.usefulness.study.run import REPORT_FILE, run_usefulness

    plan = plan_study(job)  # an invalid request fails before a server is started
    with nullcontext() if options.as_json else _printed_log():
        report, stop = run_long_job(
            job,
            run_usefulness,
            flow="usefulness:usefulness",
            unit="steps",
            options=options,
            total=sum(run.config.num_steps for run in plan.runs),
            finished=all(is_done(run) for run in plan.runs),
        )
    if options.as_json:
        print_json(report)
    else:
        say((job.out / REPORT_FILE).read_text())
        say(report.line)
    end(stop.exit_code if report.stopped else EXIT_INCOMPLETE if report.num_failed else 0)


@contextmanager
def _printed_log() -> Iterator[None]:
    """Print the messages of the study's logger."""

    class Printed(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            say(record.getMessage())

    logger, handler = logging.getLogger("nightrain.pipelines.usefulness"), Printed(logging.INFO)
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)
