"""Prefect executor: one task per shard, which returns a small report."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, wait

from nightrain.datasets.errors import DiskFull, NightrainError
from nightrain.datasets.shards.manifest import Shard
from nightrain.datasets.shards.transaction import OnRows, ShardReport, ShardWork, ignore_rows
from nightrain.flows.runtime.gpu_limit import turn
from nightrain.pipelines.runs import stop as stopping
from nightrain.pipelines.runs.stop import Stop

RETRY_DELAYS_SECONDS: list[float] = [5, 30]


def is_transient(_task: Any, _run: Any, state: State) -> bool:
    """Whether a retry may help; it cannot after an error that this project raises on purpose."""
    return not isinstance(state.data, NightrainError)


@dataclass(frozen=True)
class PrefectExecutor:
    """Runs shards as task runs of the current flow, `num_workers` at a time."""

    num_workers: int = 1
    stop: Stop = field(default_factory=Stop)
    on_share: Callable[[float], None] = lambda _: (
        None
    )  # called with the completed share, in the flow's thread
    gpu_limit: str | None = None  # each task holds one slot of this global concurrency limit

    def run(
        self, shards: Sequence[Shard], work: ShardWork, on_rows: OnRows = ignore_rows
    ) -> Iterator[ShardReport]:
        """Yield one report per shard as it ends; raises DiskFull."""
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
        def make_shard(name: str) -> ShardReport:
            if self.gpu_limit is None:
                return work(by_name[name], on_rows)
            with turn(self.gpu_limit, self.stop) as mine:
                if not mine:
                    return ShardReport(shard=by_name[name], status="stopped")
                return work(by_name[name], on_rows)

        names, num_done = iter(by_name), 0
        running: dict[PrefectFuture[ShardReport], str] = {}
        while not self.stop.requested or running:
            if not self.stop.requested:
                for name in islice(names, self.num_workers - len(running)):
                    running[make_shard.submit(name)] = name
            if not running:
                return
            for future in _first_done(list(running)):
                yield _report(by_name[running.pop(future)], future)
                num_done += 1
                self.on_share(num_done / len(by_name))


def _first_done(futures: list[PrefectFuture[ShardReport]]) -> list[PrefectFuture[ShardReport]]:
    if len(futures) == 1:
        futures[0].wait()
        return futures
    while not (done := list(wait(futures, timeout=0.2).done)):
        pass
    return done


def _report(shard: Shard, future: PrefectFuture[ShardReport]) -> ShardReport:
    outcome = future.result(raise_on_failure=False)
    if isinstance(outcome, DiskFull):
        raise outcome
    if isinstance(outcome, Exception):
        message = f"{type(outcome).__name__}: {outcome}"
        return ShardReport(shard=shard, status="failed", message=message)
    return outcome
