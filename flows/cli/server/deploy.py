"""The commands `deploy` and `serve`: the standard deployments of a dataset."""

import shlex
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from nightrain.datasets.validation import Settings
from nightrain.flows.cli.console import console
from nightrain.flows.cli.options import command
from nightrain.flows.cli.server.schedule import Step
from nightrain.flows.cli.server.standard import (
    NIGHTLY,
    STUDENT,
    WEEKLY,
    StandardOptions,
    standard_of,
)

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment
    from prefect.schedules import Schedule


class PoolOptions(Settings):
    """Options of `nightrain deploy` only."""

    work_pool: str = Field(min_length=1, description="Work pool whose workers start the runs")


@command
def deploy(options: StandardOptions, pool: PoolOptions) -> None:
    """Deploy the nightly run, weekly report and training of a dataset to a work pool.

    The nightly run ingests what is new, makes the captions and control maps that a recipe needs,
    generates, labels if there is a teacher, verifies what the last two days committed, and writes
    the report. Run the same command again to change the deployments; it also brings their
    automations up to date. Paths may begin with a variable of the workers, such as
    '$NIGHTRAIN_DATA/shards'.
    """
    _register(options.complete(), pool.work_pool)


@command
def serve(options: StandardOptions) -> None:
    """Run the nightly run, weekly report and training of a dataset from this process.

    They are those of `nightrain deploy`. Ctrl-C ends active runs after their batch and pauses the
    schedules; the same command starts them again.
    """
    from nightrain.flows import deployment

    made = _register(options.complete(), None)
    console().print("Runs start from this process; Ctrl-C stops it and pauses the schedules.")
    deployment.serve(*made)


def _register(options: StandardOptions, work_pool: str | None) -> "list[RunnerDeployment]":
    """Create or update the deployments and their automations; raises InvalidRequest."""
    standard = standard_of(options, look=work_pool is None)
    from nightrain.flows import deployment
    from nightrain.flows.observe import automations
    from nightrain.flows.runtime.silent_runs import ensure_automation

    nightly = deployment.schedule_of(options.cron, None, options.timezone)
    weekly = deployment.schedule_of(options.weekly, None, options.timezone)
    server = deployment.require_server()
    if work_pool is not None:
        deployment.require_pool(work_pool)
    block = automations.notification_block(options.notify) if options.notify else None
    made = [
        _deployment(options, NIGHTLY, standard.nightly, nightly, work_pool, options.overlap),
        _deployment(options, WEEKLY, standard.weekly, weekly, work_pool, "skip"),
    ]
    if standard.student:
        made.append(_deployment(options, STUDENT, standard.student, None, work_pool, "skip"))
    ids = [deployment.apply(each) for each in made]
    ensure_automation()
    wanted = automations.automations(
        options.prefix,
        ids,
        block=block,
        nightly=ids[0],
        student=ids[2] if standard.student else None,
    )
    automations.bring_up_to_date(options.prefix, list(wanted))
    _describe(made, options, server, work_pool)
    return made


def _deployment(
    options: StandardOptions,
    name: str,
    steps: list[Step],
    schedule: "Schedule | None",
    work_pool: str | None,
    overlap: Literal["wait", "skip"],
) -> "RunnerDeployment":
    """Return a deployment of the flow `chain`, which replaces variables in paths."""
    from nightrain.flows import chain, deployment

    job = {"steps": [{"command": command, "job": each} for command, each in steps]}
    full_name = f"{options.prefix}-{name}"
    return deployment.deployment_of(chain.chain, job, full_name, schedule, work_pool, overlap)


def _describe(
    made: "list[RunnerDeployment]", options: StandardOptions, server: str, work_pool: str | None
) -> None:
    out = console()
    times = {NIGHTLY: options.cron, WEEKLY: options.weekly}
    for each in made:
        kind = each.name.removeprefix(f"{options.prefix}-")
        when = f"{times[kind]} {options.timezone}" if kind in times else "after new variants"
        steps = ", ".join(step["command"] for step in each.parameters["job"]["steps"])
        out.print(f"[green]deployed[/green] {each.full_name}: {when}: {steps}")
    out.print(f"on {server}", markup=False)
    if work_pool is not None:
        out.print(f"Workers take the runs: prefect worker start --pool {shlex.quote(work_pool)}")
    out.print(f"Run one now: prefect deployment run {shlex.quote(made[0].full_name)}")
