"""Executors: run the shards of a plan in this process, in worker processes, or elsewhere.

An executor takes shards and the work to do on each and yields a report per shard, in any order. The
work is a picklable value that contains the dataset's root and the recipe. Nothing else is shared,
so work pools and Ray can run the same plan on other machines.
"""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Event as ProcessEvent
from threading import Event, Thread
from typing import Any, Protocol, TypeVar, runtime_checkable

from nightrain.datasets.errors import NightrainError
from nightrain.datasets.io.system_errors import in_words
from nightrain.datasets.shards.manifest import Manifest, Shard
from nightrain.datasets.shards.transaction import OnRows, ShardReport, ShardWork, ignore_rows
from nightrain.pipelines.runs import stop as stopping
from nightrain.pipelines.runs.batches import raise_if_it_ends_the_run
from nightrain.pipelines.runs.devices import use_only
from nightrain.pipelines.runs.stop import Stop
from nightrain.pipelines.runs.waiting import Waiting

T = TypeVar("T")


class Executor(Protocol):
    """Runs work on shards."""

    def run(
        self, shards: Sequence[Shard], work: ShardWork, on_rows: OnRows = ignore_rows
    ) -> Iterator[ShardReport]:
        """Yield one report per shard as it ends; call `on_rows` with the number of new rows."""
        ...


@dataclass(frozen=True)
class SerialExecutor:
    """Runs one shard after the other in this process."""

    stop: Stop = field(default_factory=Stop)

    def run(
        self, shards: Sequence[Shard], work: ShardWork, on_rows: OnRows = ignore_rows
    ) -> Iterator[ShardReport]:
        """Yield one report per shard, in order."""
        stopping.set_current(self.stop)
        for shard in shards:
            if self.stop.requested:
                return
            yield report_failure(shard, work, on_rows)


class WorkFound(Exception):
    """Raised by `PlanOnly` where a plan has a shard to make."""


@dataclass(frozen=True)
class PlanOnly:
    """Plan-only executor: raises WorkFound at the first missing shard."""

    devices: tuple[str, ...] = ()  # GPUs of the run that follows

    def run(
        self, shards: Sequence[Shard], work: ShardWork, on_rows: OnRows = ignore_rows
    ) -> Iterator[ShardReport]:
        """Raise WorkFound."""
        raise WorkFound

    def check(self, check: Callable[[], None]) -> None:
        """Run a check, or raise WorkFound if the run that follows has processes of its own for it.

        The parent of worker processes does not use a device.
        """
        if len(self.devices) > 1:
            raise WorkFound
        check()


@dataclass(frozen=True)
class ProcessExecutor:
    """Runs shards in parallel in `num_workers` processes of this machine.

    With `devices`, there is one worker process per device instead, which sees only that GPU: its
    weights are in memory once, and it makes one shard at a time.
    """

    num_workers: int
    stop: Stop = field(default_factory=Stop)
    devices: tuple[str, ...] = ()

    def run(
        self, shards: Sequence[Shard], work: ShardWork, on_rows: OnRows = ignore_rows
    ) -> Iterator[ShardReport]:
        """Yield one report per shard as it ends; rows are counted at the end of their shard."""
        with worker_pool(self.num_workers, self.devices) as (pool, flag):
            futures = [pool.submit(report_failure, shard, work, ignore_rows) for shard in shards]
            Thread(target=self._watch_stop, args=(flag, futures), daemon=True).start()
            try:
                for future in as_completed(futures):
                    if not future.cancelled():
                        report = _result(future)
                        on_rows(report.num_done)
                        yield report
            except (
                BaseException
            ):  # the disk is full, or the caller closed the iterator: start no more shards
                _end(flag, futures)
                raise

    def check(self, check: Callable[[], None]) -> None:
        """Run a check in a worker process of its own, which frees all memory at its end."""
        with worker_pool(1, self.devices[:1]) as (pool, flag):
            future = pool.submit(check)
            Thread(target=self._watch_stop, args=(flag, [future]), daemon=True).start()
            with suppress(CancelledError):  # stopped before it began
                _result(future)

    def _watch_stop(self, flag: ProcessEvent, futures: Sequence[Future[Any]]) -> None:
        """Forward a stop request to the workers, and cancel shards that have not started."""
        while not all(future.done() for future in futures):
            if self.stop.requested:
                _end(flag, futures)
                return
            time.sleep(0.1)


@runtime_checkable
class ChecksElsewhere(Protocol):
    """Executor that runs a check where it runs its shards."""

    def check(self, check: Callable[[], None]) -> None:
        """Run a check."""
        ...


def check_once(executor: Executor, check: Callable[[], None]) -> None:
    """Run a check before a plan, in this process unless the executor has processes of its own.

    The parent of worker processes does not use a device, so that it holds none of its memory.
    """
    if isinstance(executor, ChecksElsewhere):
        executor.check(check)
    else:
        check()


@contextmanager
def worker_pool(
    num_workers: int, devices: Sequence[str] = ()
) -> Iterator[tuple[ProcessPoolExecutor, ProcessEvent]]:
    """Worker processes, one per device if there are any, and the flag that stops them."""
    context = multiprocessing.get_context("spawn")
    flag, free = context.Event(), context.SimpleQueue()
    for device in devices:
        free.put(device)
    size = len(devices) or num_workers
    given = (flag, free if devices else None)
    with ProcessPoolExecutor(size, context, initializer=_begin_worker, initargs=given) as pool:
        yield pool, flag


@contextmanager
def on_devices(work: ShardWork, devices: Sequence[str], stop: Stop) -> Iterator[ShardWork]:
    """Work that runs in one worker process per device, whatever thread calls it.

    A stop or a pause ends the shards in progress after their batch. With fewer than two devices,
    the work itself is returned.
    """
    if len(devices) < 2:
        yield work
        return
    with worker_pool(len(devices), devices) as (pool, flag):
        ended = Event()
        watcher = Thread(target=_follow, args=(stop, flag, ended), daemon=True)
        watcher.start()

        def elsewhere(shard: Shard, on_rows: OnRows = ignore_rows) -> ShardReport:
            report = _result(pool.submit(work, shard, ignore_rows))
            on_rows(report.num_done)
            return report

        try:
            yield elsewhere
        finally:
            ended.set()
            watcher.join()


def _follow(stop: Stop, flag: ProcessEvent, ended: Event) -> None:
    """Keep the workers' flag equal to that of this process."""
    while not ended.wait(0.1):
        if stop.interrupted:
            flag.set()
        else:
            flag.clear()


def _result(future: Future[T]) -> T:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise NightrainError(
            "A worker process was killed, possibly because memory ran out. Run the same command "
            "again, with fewer --workers; committed shards stay."
        ) from error


def _end(flag: ProcessEvent, futures: Sequence[Future[Any]]) -> None:
    flag.set()
    for future in futures:
        future.cancel()


def _begin_worker(flag: ProcessEvent, free: "SimpleQueue[str] | None") -> None:
    """Prepare a worker: it takes a device, ignores signals, and ends with its parent."""
    import signal

    if free is not None:
        use_only(free.get())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    stopping.set_current(Stop(flag))
    parent = multiprocessing.parent_process()
    if parent is not None:
        Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def report_failure(shard: Shard, work: ShardWork, on_rows: OnRows) -> ShardReport:
    """Run the work on a shard; report a failure instead of ending the run.

    Raises InvalidRequest, DiskFull and RunFailure: every other shard would fail, too.
    """
    try:
        return work(shard, on_rows)
    except Exception as error:
        return failure_report(shard, error)


def failure_report(shard: Shard, error: Exception) -> ShardReport:
    """Report a shard that failed; raises the error if every other shard would meet it as well."""
    raise_if_it_ends_the_run(error)
    message = in_words(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
    return ShardReport(shard=shard, status="failed", message=message)


def run_plan(
    manifest: Manifest,
    plan: Sequence[Shard],
    work: ShardWork,
    executor: Executor,
    stop: Stop,
    on_rows: OnRows = ignore_rows,
) -> Iterator[ShardReport]:
    """Run the missing shards of a plan until all are committed, by this process or others.

    Waits for shards that another process is making, and takes them over if it dies.
    """
    pending = [shard for shard in plan if manifest.entry(shard) is None]
    waiting = Waiting(lambda: stop.requested)
    while pending and not stop.requested:
        ended: set[Shard] = set()
        free = [shard for shard in pending if not manifest.is_leased(shard)]
        for report in executor.run(free, work, on_rows) if free else ():
            if report.status != "elsewhere":
                ended.add(report.shard)
                yield report
        pending = [shard for shard in pending if shard not in ended]
        waiting = waiting if not ended else Waiting(lambda: stop.requested)
        if pending and not stop.requested:
            waiting.pause(partial(_awaited, manifest, pending))


def _awaited(manifest: Manifest, pending: Sequence[Shard]) -> str:
    """The shards that other processes hold, and who holds the first of them."""
    held = [(shard, found) for shard in pending if (found := manifest.holder(shard))]
    if not held:
        return f"for {pending[0].name}"
    (shard, found), others = held[0], len(held) - 1
    more = f" and {others} other shard{'s' * (others > 1)}" if others else ""
    return f"for {shard.name}{more}, held by {found.words}"
