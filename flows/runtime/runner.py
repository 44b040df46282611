"""Job runners: plain Python in this process, or a Prefect flow run.

Prefect is imported, and its server started, only for a flow run that has work to do.
"""

import os
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pydantic import BaseModel

    from nightrain.datasets.shards.transaction import OnRows
    from nightrain.flows.runtime.shard_plan import ShardJob
    from nightrain.pipelines.runs.run import RunReport
    from nightrain.pipelines.runs.stop import Stop

RunnerName = Literal["prefect", "local"]


def run_shards_locally(
    work: "ShardJob",
    num_workers: int,
    stop: "Stop",
    on_planned: "OnRows",
    on_rows: "OnRows",
    devices: tuple[str, ...] = (),
) -> "RunReport":
    """Run a job's shards one after the other, or in several processes: one per device, if any."""
    from nightrain.pipelines.runs.executors import ProcessExecutor, SerialExecutor
    from nightrain.pipelines.runs.stop import stop_on_signals

    alone = (len(devices) or num_workers) == 1
    executor = SerialExecutor(stop) if alone else ProcessExecutor(num_workers, stop, devices)
    with stop_on_signals(stop):
        return work(executor=executor, stop=stop, on_planned=on_planned, on_rows=on_rows)


def run_plan_only(
    work: "ShardJob", stop: "Stop", devices: tuple[str, ...] = ()
) -> "RunReport | None":
    """Run a job up to its first missing shard; return its report if none is missing, else None.

    A job that cannot run raises here, before a server is started for it.
    """
    from nightrain.datasets.shards.transaction import ignore_rows
    from nightrain.pipelines.runs.executors import PlanOnly, WorkFound
    from nightrain.pipelines.runs.stop import stop_on_signals

    try:
        with stop_on_signals(stop):
            planner = PlanOnly(devices)
            return work(executor=planner, stop=stop, on_planned=ignore_rows, on_rows=ignore_rows)
    except WorkFound:
        return None


def run_flow(flow: str, job: "BaseModel", stop: "Stop", **watchers: Any) -> Any:
    """Run a job as a flow run, on the user's server or a temporary one; return its report.

    `flow` is "module:name" in nightrain.flows; watchers are the callbacks of a `Session`. Raises
    what the job raises.
    """
    if "PREFECT_LOGGING_LEVEL" not in os.environ:
        # The progress bar shows the rest; the run's log on the server has everything.
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "WARNING")
    from nightrain.flows.runtime.server_guard import guard_server

    guard_server()
    loaded = resolve_name(f"nightrain.flows.{flow}")  # imports prefect
    from nightrain.flows.runtime.session import Session, run_in_process

    return run_in_process(Session(stop, **watchers), loaded, job)


def server_words(flow: str) -> str:
    """Describe the server that a flow will run on, which imports Prefect."""
    import nightrain.flows  # noqa: F401, I001  (its settings must be there before prefect is imported)
    from prefect.settings import PREFECT_API_URL

    server = PREFECT_API_URL.value() or "a temporary server, which takes a moment to start"
    return f"flow {flow.rpartition(':')[2].replace('_', '-')} on {server}"
