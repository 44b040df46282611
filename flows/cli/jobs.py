"""Job commands: run a job locally or as a flow, and show its progress."""

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from nightrain.datasets.validation import Settings
from nightrain.flows.cli.console import (
    Bar,
    end,
    exit_code,
    print_json,
    print_run,
    progress_bar,
)
from nightrain.flows.runtime.runner import (
    RunnerName,
    run_flow,
    run_plan_only,
    run_shards_locally,
    server_words,
)
from nightrain.pipelines.runs.stop import Stop, stop_on_signals

if TYPE_CHECKING:
    from nightrain.pipelines.runs.run import RunReport


class OutputOptions(Settings):
    """Options of every command that prints a report."""

    as_json: bool = Field(
        default=False, description="Print the report as JSON", json_schema_extra={"cli": "--json"}
    )


class RunnerOptions(Settings):
    """Options of every command that runs a flow."""

    runner: RunnerName = Field(
        default="prefect",
        description="prefect: run as a flow; local: run the same job without a server",
    )


class FlowOptions(OutputOptions, RunnerOptions):
    """Options of every command that runs a flow and prints a report."""


class LocalFirst(FlowOptions):
    """The same for jobs that take less time than starting a server."""

    runner: RunnerName = Field(
        default="local",
        description="local: run without a server; prefect: run the same job as a flow",
    )


def rank() -> int:
    """Number of this process among those that torchrun or accelerate started; 0 otherwise."""
    return int(os.environ.get("RANK", "0"))


def is_launched() -> bool:
    """Whether torchrun or accelerate started several processes of this command."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def run_shard_job(
    job: BaseModel,
    work: Callable[..., "RunReport"],
    *,
    flow: str,
    rows: str,
    options: FlowOptions,
    num_workers: int = 1,
    devices: Callable[[], tuple[str, ...]] = tuple,
) -> None:
    """Run a job of shards, print what it committed, and end the command.

    `rows` is the name of the rows ("variants"); `devices` returns the GPUs, one worker for each.
    """
    stop = Stop()
    with progress_bar(rows, shown=not options.as_json) as bar:
        report = run_shards(
            job,
            work,
            flow=flow,
            options=options,
            bar=bar,
            stop=stop,
            num_workers=num_workers,
            devices=devices,
        )
    if options.as_json:
        print_json(report)
    else:
        print_run(report, rows)
    end(exit_code(report, stop.exit_code))


def run_shards(
    job: BaseModel,
    work: Callable[..., "RunReport"],
    *,
    flow: str,
    options: FlowOptions,
    bar: Bar,
    stop: Stop,
    num_workers: int,
    devices: Callable[[], tuple[str, ...]] = tuple,
) -> "RunReport":
    """Run a job of shards, locally or as a flow run, and return its report.

    A server is started only where a shard is missing.
    """
    if options.runner == "local":
        local = partial(work, job)
        return run_shards_locally(local, num_workers, stop, bar.expect, bar.add, devices())
    report = run_plan_only(partial(work, job), stop, devices())
    if report is not None:
        return report
    bar.say(server_words(flow))
    return run_flow(flow, job, stop, on_planned=bar.expect, on_rows=bar.add)


def run_long_job(
    job: BaseModel,
    work: Callable[..., Any],
    *,
    flow: str,
    unit: str,
    options: FlowOptions,
    total: int | None = None,
    finished: bool = False,
) -> tuple[Any, Stop]:
    """Run a job that counts its own steps; return its report and its stop flag.

    `unit` is the unit of its progress ("steps"). A `finished` job only reports, without a server.
    """
    stop = Stop()
    with progress_bar(unit, total, shown=not options.as_json and rank() == 0) as bar:
        if options.runner == "local" or finished:
            with stop_on_signals(stop):
                return work(job, stop=stop, on_step=bar.reach), stop
        bar.say(server_words(flow))
        return run_flow(flow, job, stop, on_step=bar.reach), stop
