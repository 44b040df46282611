"""Shard plan as a flow run: one task per shard, and a table of committed rows."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from nightrain.datasets.shards.transaction import OnRows
from nightrain.flows.runtime.executor import PrefectExecutor
from nightrain.flows.runtime.gpu_limit import require_limit
from nightrain.flows.runtime.progress import Progress
from nightrain.flows.runtime.session import Session, end_of
from nightrain.pipelines.runs.executors import Executor
from nightrain.pipelines.runs.run import RunReport
from nightrain.pipelines.runs.stop import Stop


class ShardJob(Protocol):
    """Runs the shards of a job on an executor."""

    def __call__(self, *, executor: Executor, stop: Stop, on_rows: OnRows) -> RunReport:
        """Make the missing shards of the job's plan."""
        ...


def run_shards(
    dataset: Path,
    job: ShardJob,
    rows: str,
    *,
    num_workers: int = 1,
    gpu_limit: Callable[[], str | None] = lambda: None,
) -> State:
    """Run a job's shards as tasks of the current flow run; return its final state.

    `rows` is the name of the rows ("variants"). If `gpu_limit` returns a name, every task holds a
    slot of that global concurrency limit. Ends as Completed, Failed if shards failed, too
    many rows are in quarantine or a NightrainError was raised, or Cancelled after a signal.
    """

    def work(here: Session[RunReport]) -> RunReport:
        limit = gpu_limit()
        if limit is not None:
            require_limit(limit)
        progress = Progress("shards", "Shards made by this run")
        executor = PrefectExecutor(num_workers, here.stop, progress.show, limit)
        report = job(executor=executor, stop=here.stop, on_rows=here.on_rows)
        create_table_artifact(table=_table(report), key=rows, description=str(dataset))
        return report

    return end_of(work, lambda report: final_state(report, rows))


def _table(report: RunReport) -> list[dict[str, object]]:
    """Rows of the artifact, one per table that the run added to."""
    return [
        {
            "table": name,
            "shards": table.num_shards,
            "rows": table.num_rows,
            "quarantined": sum(table.quarantined.values()),
            "MB": round(table.num_bytes / 1e6, 1),
            "seconds": round(table.seconds, 1),
        }
        for name, table in report.tables.items()
    ]


def final_state(report: RunReport, rows: str) -> State:
    """Return the state that a flow run ends in; its message is the outcome in one sentence."""
    if report.stopped:
        return Cancelled(message="Stopped on request; run the same job again to resume.")
    if report.failed:
        return Failed(message=f"{len(report.failed)} shards failed. {report.failed[0]}")
    if report.over_limit:
        return Failed(message=report.over_limit)
    return Completed(message=f"{report.num_rows} {rows}, {report.num_quarantined} quarantined")
