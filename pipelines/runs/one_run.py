"""One run at a time: what a run does while another works on the same dataset."""

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from nightrain.datasets.errors import NightrainError
from nightrain.datasets.shards.leases import LEASE_SECONDS, Lease
from nightrain.pipelines.runs.history.run_record import (
    RowsOfRun,
    RunRecord,
    flow_run_id,
    whoami,
    write_run,
)
from nightrain.pipelines.runs.run import RunReport
from nightrain.pipelines.runs.stop import Stop

LEASE = "run"  # DATASET/_leases/run.lease
SECONDS_BETWEEN_TRIES = 1.0
IfRunning = Annotated[
    Literal["share", "wait", "skip"],
    Field(
        description="While another run works on the dataset: share its shards, wait for its end, "
        "or skip this run"
    ),
]
logger = logging.getLogger(__name__)


def one_run_at_a_time(make: Callable[..., RunReport]) -> Callable[..., RunReport]:
    """Decorate a job of shards, so that it follows its option `if_running` and is recorded.

    A run holds the dataset's run lease from its start to its end, whatever its option, and whether
    or not Prefect runs it. Sharing is safe, because every shard has a lease of its own.
    """

    @functools.wraps(make)
    def make_in_turn(job: Any, *, stop: Stop, **rest: Any) -> RunReport:
        with _turn(job.dataset, job.if_running, stop) as mine:
            if mine:
                started_at = datetime.now(UTC)
                report = make(job, stop=stop, **rest)
                record_run(make.__name__, job, report, started_at)
                return report
        if stop.requested:
            return RunReport(stopped=True)
        words = f"Skipped: another run works on {job.dataset}, and --if-running is skip."
        return RunReport(not_started=words)

    return make_in_turn


def record_run(command: str, job: Any, report: RunReport, started_at: datetime) -> None:
    """Record a run in its dataset, unless it made nothing; what a job does not have is left out."""
    tables = report.inputs | report.tables
    if not any(table.num_rows or table.quarantined for table in tables.values()):
        return
    recipe = job.load_recipe() if hasattr(job, "load_recipe") else None
    record = RunRecord(
        **whoami(),
        started_at=started_at,
        ended_at=datetime.now(UTC),
        command=command,
        title=getattr(job, "title", ""),
        flow_run_id=flow_run_id.get(),
        recipe=recipe.name if recipe is not None else "",
        recipe_hash=recipe.hash if recipe is not None else "",
        teacher=str(getattr(job, "teacher", "")),
        num_workers=getattr(job, "num_workers", 1),
        tables={
            name: RowsOfRun.model_validate(table.model_dump()) for name, table in tables.items()
        },
        end=_end(report),
    )
    write_run(job.dataset, record)


def _end(report: RunReport) -> str:
    if report.stopped:
        return "stopped"
    if report.failed:
        return f"{len(report.failed)} shards failed"
    return "budget spent" if report.budget_spent else "complete"


@contextmanager
def _turn(root: Path, if_running: str, stop: Stop) -> Iterator[bool]:
    """Hold the run lease if possible; yield whether the run may start."""
    lease = _take(root, must=if_running != "share")
    if lease is None and if_running == "wait" and root.is_dir():
        lease = _wait(root, stop)
    if lease is None:
        # Without a folder or with one that cannot be written, there is nothing to share.
        yield if_running == "share" or not root.is_dir()
        return
    ended = threading.Event()
    threading.Thread(target=_renew, args=(lease, ended), daemon=True).start()
    try:
        with lease:
            yield True
    finally:
        ended.set()


def _take(root: Path, *, must: bool) -> Lease | None:
    """Take the run lease; None if another run holds it or, unless it `must`, on any failure."""
    if not root.is_dir():
        return None
    try:
        return Lease.take(root, LEASE)
    except (OSError, NightrainError):
        if must:
            raise
        return None


def _wait(root: Path, stop: Stop) -> Lease | None:
    """Wait until the lease is free; None if a stop was requested first."""
    logger.warning("waiting for the end of another run on %s (--if-running wait)", root)
    while not stop.requested:
        lease = _take(root, must=True)
        if lease is not None:
            return lease
        time.sleep(SECONDS_BETWEEN_TRIES)
    return None


def _renew(lease: Lease, ended: threading.Event) -> None:
    while not ended.wait(LEASE_SECONDS / 10):
        lease.renew()
