"""The flow `generate-variants`: a recipe on a dataset, one task per shard.

python -m flows.generate DATASET weather          # once
generate_variants.serve(name="nightly", cron="0 2 * * *", parameters={"job": {...}})
"""

import sys
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from uuid import UUID

from prefect import flow
from prefect.artifacts import (
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from flows.executor import PrefectExecutor
from pipelines.run import GenerateJob, RunReport, generate
from pipelines.shardwork import OnRows, ignore_rows
from pipelines.stop import Stop, stop_on_signals


@dataclass
class Session:
    """What a caller in the same process shares with a flow run and Prefect need not store."""

    stop: Stop = field(default_factory=Stop)
    on_rows: OnRows = ignore_rows
    report: RunReport | None = None
    error: Exception | None = None


_session: ContextVar[Session | None] = ContextVar("session", default=None)


@flow(name="generate-variants", persist_result=False)
def generate_variants(job: GenerateJob) -> State:
    """Make the variants that a recipe asks for; what is committed stays, what is missing is made.

    Ends Completed, Failed where shards failed, Cancelled where a signal stopped it.
    """
    here = _session.get() or Session()
    artifact = create_progress_artifact(0.0, key="shards", description="Shards made by this run")

    def show(share: float) -> None:
        update_progress_artifact(cast(UUID, artifact), 100.0 * share)

    executor = PrefectExecutor(job.num_workers, here.stop, show)
    try:
        # Prefect turns SIGTERM into a crash of the flow; here it ends the batch in hand first.
        with stop_on_signals(here.stop):
            report = generate(job, executor=executor, stop=here.stop, on_rows=here.on_rows)
    except Exception as error:
        here.error = error
        raise
    here.report = report
    create_table_artifact(table=_table(report), key="variants", description=str(job.dataset))
    return _state(report)


def run_with(here: Session, job: GenerateJob) -> State:
    """Run the flow in this process with a session of the caller's; gives its final state."""
    token = _session.set(here)
    try:
        return generate_variants(job, return_state=True)
    finally:
        _session.reset(token)


def run_in_process(job: GenerateJob, stop: Stop, on_rows: OnRows = ignore_rows) -> RunReport:
    """Run the flow here and give its report; raises what the job raised."""
    here = Session(stop, on_rows)
    state = run_with(here, job)
    if here.error is not None:
        raise here.error
    if here.report is None:
        raise RuntimeError(f"the flow run ended before the job began: {state}")
    return here.report


def _table(report: RunReport) -> list[dict[str, object]]:
    """One line per table that the run added to."""
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


def _state(report: RunReport) -> State:
    if report.stopped:
        return Cancelled(message="Stopped on request; the same job goes on with what is left.")
    if report.failed:
        return Failed(message=f"{len(report.failed)} shards failed. {report.failed[0]}")
    return Completed(message=f"{report.num_rows} variants, {report.num_quarantined} quarantined")


if __name__ == "__main__":
    generate_variants(GenerateJob(dataset=Path(sys.argv[1]), recipe=sys.argv[2]))
