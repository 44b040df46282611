"""Prefect executor: one task per shard, which returns a small report."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, wait
from prefect.states import Cancelled, Failed

from nightrain.datasets.errors import NightrainError
from nightrain.datasets.io.system_errors import in_words
from nightrain.datasets.shards.manifest import Shard
from nightrain.datasets.shards.transaction import OnRows, ShardReport, ShardWork, ignore_rows
from nightrain.flows.observe.run_log import log_shard
from nightrain.flows.runtime.gpu_limit import turn
from nightrain.pipelines.runs import stop as stopping
from nightrain.pipelines.runs.batches import raise_if_it_ends_the_run
from nightrain.pipelines.runs.executors import ProcessExecutor, failure_report, on_devices
from nightrain.pipelines.runs.stop import Stop

RETRY_DELAYS_SECONDS: list[float] = [5, 30]


def is_transient(_task: Any, _run: Any, state: State) -> bool:
    """Whether a retry may help; it cannot after an error that this project raises on purpose."""
    return not isinstance(state.data, NightrainError)


@dataclass(frozen=True)
class PrefectExecutor:
    """Runs shards as task runs of the current flow, `num_workers` at a time.

    With several `devices`, each has a worker process, and as many tasks run at a time.

    During a pause, the shards in progress end after their batch, keep their finished rows, and are
    continued when the run is resumed.
    """

    num_workers: int = 1
    stop: Stop = field(default_factory=Stop)
    on_share: Callable[[float], None] = lambda _: (
        None
    )  # called with the completed share, in the flow's thread
    gpu_limit: str | None = None  # each task holds one slot of this global concurrency limit
    on_shard: Callable[[ShardReport], None] = lambda _: None  # called in the flow's thread
    find_devices: Callable[[], tuple[str, ...]] = tuple  # GPUs; importing torch takes seconds

    @cached_property
    def devices(self) -> tuple[str, ...]:
        """GPUs, found on first use: a run with nothing to do needs none."""
        return self.find_devices()

    def run(
        self, shards: Sequence[Shard], work: ShardWork, on_rows: OnRows = ignore_rows
    ) -> Iterator[ShardReport]:
        """Yield one report per shard as it ends; raises InvalidRequest, RunFailure, DiskFull."""
        with on_devices(work, self.devices, self.stop) as placed:
            yield from self._run(shards, placed, on_rows)

    def check(self, check: Callable[[], None]) -> None:
        """Run a check in this process, or in one of its own if there are several devices."""
        if len(self.devices) < 2:
            check()
        else:
            ProcessExecutor(1, self.stop, self.devices).check(check)

    def _run(
        self, shards: Sequence[Shard], work: ShardWork, on_rows: OnRows
    ) -> Iterator[ShardReport]:
        stopping.set_current(self.stop)
        by_name = {shard.name: shard for shard in shards}

        # A closure, so that Prefect neither inspects nor stores the content of the work.
        @task(
            name="make-shard",
            task_run_name="{name}",
            retries=len(RETRY_DELAYS_SECONDS),
            retry_delay_seconds=list(RETRY_DELAYS_SECONDS),
            retry_jitter_factor=0.3,
            retry_condition_fn=is_transient,
            cache_policy=NO_CACHE,
            persist_result=False,
        )
        def make_shard(name: str) -> State | ShardReport:
            try:
                report = self._make(by_name[name], work, on_rows)
            except OSError as error:  # of the disk or the network: retried, without a traceback
                return Failed(message=in_words(error), data=error)
            except RuntimeError as error:
                raise_if_it_ends_the_run(error)  # a lost GPU, which a retry cannot bring back
                raise
            log_shard(report)
            return _task_result(report)

        waiting, num_done = deque(by_name), 0
        num_workers = len(self.devices) or self.num_workers
        running: dict[PrefectFuture[Any], str] = {}
        while running or (waiting and not self.stop.requested):
            if not running:
                self.stop.wait_while_paused()
            while waiting and len(running) < num_workers and not self.stop.interrupted:
                name = waiting.popleft()
                running[make_shard.submit(name)] = name
            for future in _first_done(list(running)):
                report = _report(by_name[running.pop(future)], future)
                if report.status == "stopped" and not self.stop.requested:  # only paused
                    waiting.appendleft(report.shard.name)
                    continue
                num_done += 1
                self.on_shard(report)
                self.on_share(num_done / len(by_name))
                yield report

    def _make(self, shard: Shard, work: ShardWork, on_rows: OnRows) -> ShardReport:
        if self.gpu_limit is None:
            return work(shard, on_rows)
        with turn(self.gpu_limit, self.stop) as mine:
            return work(shard, on_rows) if mine else ShardReport(shard=shard, status="stopped")


def _task_result(report: ShardReport) -> State | ShardReport:
    """A report, or for an interrupted shard the state of its task, with the report as data."""
    if report.status == "stopped":
        message = f"Interrupted; {report.num_rows} finished rows are kept for the next run."
        return Cancelled(message=message, data=report)
    return report


def _first_done(futures: list[PrefectFuture[Any]]) -> list[PrefectFuture[Any]]:
    if len(futures) <= 1:
        for future in futures:
            future.wait()
        return futures
    while not (done := list(wait(futures, timeout=0.2).done)):
        pass
    return done


def _report(shard: Shard, future: PrefectFuture[Any]) -> ShardReport:
    outcome = future.result(raise_on_failure=False)
    return failure_report(shard, outcome) if isinstance(outcome, Exception) else outcome
