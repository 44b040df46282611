"""Commands that train networks: `train` and `usefulness`."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import click

from nightrain.flows.cli.console import EXIT_INCOMPLETE, end, print_json
from nightrain.flows.cli.jobs import FlowOptions, run_long_job
from nightrain.flows.cli.options import command
from nightrain.pipelines.depth.train_job import TrainJob, train_network
from nightrain.pipelines.usefulness.job import UsefulnessJob

FLOWS_OF_ROLES = ("teacher", "student", "restorer")  # train-network trains any other role


@command
def train(job: TrainJob, options: FlowOptions) -> None:
    """Train a depth network from a preset.

    Presets train teachers on clear frames, students on labels and variants, and restorers on
    measured depth. Run the same command again to resume.
    """
    config = job.config()  # an invalid request fails before a server is started
    kind = config.role.kind()
    report, stop = run_long_job(
        job,
        train_network,
        flow=f"train:train_{kind if kind in FLOWS_OF_ROLES else 'network'}",
        unit="steps",
        options=options,
        total=config.num_steps,
    )
    if options.as_json:
        print_json(report)
    else:
        click.echo(report.line)
    end(stop.exit_code if report.stopped else 0)


@command
def usefulness(job: UsefulnessJob, options: FlowOptions) -> None:
    """Compare students trained with and without variants.

    All arms get equal compute and are tested on recorded weather. The tables usefulness.md and
    usefulness.json are updated after each run. Run the same command again to resume; more arms and
    seeds extend the study in the same folder.
    """
    from nightrain.pipelines.usefulness.plan import plan_study
    from nightrain.pipelines.usefulness.study import MARKDOWN_FILE, run_usefulness

    plan = plan_study(job)  # an invalid request fails before a server is started
    with nullcontext() if options.as_json else _printed_log():
        report, stop = run_long_job(
            job,
            run_usefulness,
            flow="usefulness:usefulness",
            unit="steps",
            options=options,
            total=sum(run.config.num_steps for run in plan.runs),
        )
    if options.as_json:
        print_json(report)
    else:
        click.echo((job.out / MARKDOWN_FILE).read_text())
        click.echo(report.line)
    end(stop.exit_code if report.stopped else EXIT_INCOMPLETE if report.num_failed else 0)


@contextmanager
def _printed_log() -> Iterator[None]:
    """Print the messages of the study's logger."""

    class Printed(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            click.echo(record.getMessage())

    logger, handler = logging.getLogger("nightrain.pipelines.usefulness"), Printed(logging.INFO)
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)
