"""Shard plan as a flow run: one task per shard, and a report at the end."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Cancelled, Completed, Failed

from nightrain.datasets.shards.transaction import OnRows
from nightrain.flows.observe.events import (
    quarantine_exceeded,
    rows_committed,
    rows_of,
    shard_committed,
)
from nightrain.flows.observe.identity import Described, flow_name
from nightrain.flows.observe.run_report import publish_report
from nightrain.flows.runtime.executor import PrefectExecutor
from nightrain.flows.runtime.failure import without_retries
from nightrain.flows.runtime.gpu_limit import require_limit
from nightrain.flows.runtime.progress import Progress
from nightrain.flows.runtime.session import Session, end_of
from nightrain.pipelines.runs.executors import Executor
from nightrain.pipelines.runs.history.run_record import flow_run_id
from nightrain.pipelines.runs.run import RunReport
from nightrain.pipelines.runs.stop import Stop

logger = logging.getLogger(__name__)


class ShardJob(Protocol):
    """Runs the shards of a job on an executor."""

    def __call__(
        self, *, executor: Executor, stop: Stop, on_planned: OnRows, on_rows: OnRows
    ) -> RunReport:
        """Make the missing shards of the job's plan."""
        ...


class ShardJobOptions(Described, Protocol):
    """Options of a job of shards that its flow run needs."""

    @property
    def dataset(self) -> Path:
        """Dataset folder."""
        ...


def run_shards(
    job: ShardJobOptions,
    work: ShardJob,
    rows: str,
    *,
    num_workers: int = 1,
    gpu_limit: Callable[[], str | None] = lambda: None,
    devices: Callable[[], tuple[str, ...]] = tuple,
) -> State:
    """Run a job's shards as tasks of the current flow run; return its final state.

    `rows` is the name of the rows ("variants"). If `gpu_limit` returns a name, every task holds a
    slot of that global concurrency limit; if `devices` returns GPUs, there is one worker process
    for each. Ends as Completed, Failed if shards failed, too
    many rows are in quarantine or a NightrainError was raised, or Cancelled after a signal.
    """

    def run(here: Session[RunReport]) -> RunReport:
        limit, dataset = gpu_limit(), job.dataset.resolve()
        flow_run_id.set(_flow_run_id())
        if limit is not None:
            require_limit(limit)
        logger.info("%s of %s%s", rows, dataset, _recipe_words(job))
        progress = Progress("shards", "Shards made by this run")
        executor = PrefectExecutor(
            num_workers,
            here.stop,
            progress.show,
            limit,
            partial(shard_committed, dataset),
            devices,
        )
        report = work(
            executor=executor, stop=here.stop, on_planned=here.on_planned, on_rows=here.on_rows
        )
        flow = flow_name()
        rows_committed(dataset, rows_of(report), flow)
        if report.over_limit:  # a retry leaves the quarantine as it is
            quarantine_exceeded(dataset, report.over_limit, flow)
            without_retries()
        publish_report(job, dataset, report, rows)
        return report

    return end_of(job, run, lambda report: final_state(report, rows))


def _flow_run_id() -> str:
    here = FlowRunContext.get()
    return str(here.flow_run.id) if here is not None and here.flow_run is not None else ""


def _recipe_words(job: Described) -> str:
    recipe_hash = getattr(job, "recipe_hash", "")
    return f" of the recipe with hash {recipe_hash}" if recipe_hash else ""


def final_state(report: RunReport, rows: str) -> State:
    """Return the state that a flow run ends in; its message is the outcome in one sentence."""
    if report.stopped:
        return Cancelled(message="Stopped on request; run the same job again to resume.")
    if report.failed:
        return Failed(message=f"{len(report.failed)} shards failed. {report.failed[0]}")
    if report.over_limit:
        return Failed(message=report.over_limit)
    if report.budget_spent:
        return Completed(message=report.budget_spent)
    if report.not_started:
        return Completed(name="Skipped", message=report.not_started)
    return Completed(message=f"{report.num_rows} {rows}, {report.num_quarantined} quarantined")
