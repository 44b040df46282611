"""The two ways in which a command runs a shard job: a Prefect flow run, or plain Python."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from prefect import Flow
    from pydantic import BaseModel

    from nightrain.datasets.shards.transaction import OnRows
    from nightrain.flows.runtime.shard_plan import ShardJob
    from nightrain.pipelines.runs.run import RunReport
    from nightrain.pipelines.runs.stop import Stop

Runner = Annotated[str, typer.Option(help="prefect: as a flow run; local: the same job, no server")]


def check_mode(runner: str) -> None:
    """Raises typer.BadParameter for a mode that there is not."""
    if runner not in ("prefect", "local"):
        raise typer.BadParameter(f"--runner is {runner!r}; expected prefect or local")


def run_local(job: ShardJob, num_workers: int, stop: Stop, on_rows: OnRows) -> RunReport:
    """The job in plain Python: serial, or in processes."""
    from nightrain.pipelines.runs.executors import ProcessExecutor, SerialExecutor
    from nightrain.pipelines.runs.stop import stop_on_signals

    executor = SerialExecutor(stop) if num_workers == 1 else ProcessExecutor(num_workers, stop)
    with stop_on_signals(stop):
        return job(executor=executor, stop=stop, on_rows=on_rows)


def say_server(flow_name: str) -> None:
    """Say on standard error which server a flow will run on."""
    server = os.environ.get("PREFECT_API_URL", "a temporary server, which takes a moment")
    typer.echo(f"flow {flow_name} on {server}", err=True)


def run_flow(
    load_flow: Callable[[], Flow[..., Any]], job: BaseModel, stop: Stop, on_rows: OnRows
) -> RunReport:
    """The job as a flow run, on the user's server or a temporary one; the flow imports prefect."""
    return _run_flow(load_flow, job, stop, on_rows=on_rows)


def run_long_flow(
    load_flow: Callable[[], Flow[..., Any]],
    job: BaseModel,
    stop: Stop,
    on_step: Callable[[int, int], None],
    **watchers: Callable[..., None],
) -> Any:
    """A long job as a flow run, as `run_flow` has it; gives the job's report."""
    return _run_flow(load_flow, job, stop, on_step=on_step, **watchers)


def _run_flow(
    load_flow: Callable[[], Flow[..., Any]], job: BaseModel, stop: Stop, **watchers: Any
) -> Any:
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")  # the progress bar says the rest
    from nightrain.flows.runtime.server_guard import guard_server

    guard_server()
    flow = load_flow()
    from nightrain.flows.runtime.session import Session, run_in_process

    return run_in_process(Session(stop, **watchers), flow, job)
