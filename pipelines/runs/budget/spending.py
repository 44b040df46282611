"""Spending: ends a run in order once its budget is spent.

A thread looks at the clock and at the disk, and asks for an end through the run's stop flag: the
batch in progress is finished, and its rows are kept. The next run continues there.
"""

import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from nightrain.datasets.errors import UnreadableFile
from nightrain.datasets.io.regular import names_below
from nightrain.datasets.shards.manifest import quarantine_table
from nightrain.pipelines.runs.budget.amounts import RunBudget
from nightrain.pipelines.runs.stop import Stop

SECONDS_BETWEEN_LOOKS = 0.2
LEAST_REST = 20.0  # times as long as a look at the disk took
WORK_IN_PROGRESS = ("_tmp", "_partial")


@contextmanager
def spending(budget: RunBudget, root: Path, tables: Iterable[str], stop: Stop) -> Iterator[None]:
    """Ask `stop` for an end as soon as the budget is spent within the block.

    Disk space is that by which the folders of `tables`, with their quarantine, and unfinished
    shards grow.
    """
    if not budget.is_limited:
        yield
        return
    names = [name for table in tables for name in (table, quarantine_table(table))]
    folders = [root / name for name in (*names, *WORK_IN_PROGRESS)]
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(budget, folders, stop, ended), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _watch(budget: RunBudget, folders: Sequence[Path], stop: Stop, ended: threading.Event) -> None:
    began, before = time.monotonic(), _num_bytes(folders) if budget.num_bytes else 0
    rest_s = SECONDS_BETWEEN_LOOKS
    while not ended.wait(min(rest_s, _left_s(budget, began))):
        if _left_s(budget, began) <= 0:
            break
        if budget.num_bytes is not None:
            look = time.monotonic()
            if _num_bytes(folders) - before >= budget.num_bytes:
                break
            rest_s = max(SECONDS_BETWEEN_LOOKS, LEAST_REST * (time.monotonic() - look))
    if not ended.is_set():
        stop.end_for_budget()


def _left_s(budget: RunBudget, began: float) -> float:
    if budget.seconds is None:
        return float("inf")
    return max(0.0, budget.seconds - (time.monotonic() - began))


def _num_bytes(folders: Sequence[Path]) -> int:
    """Bytes of the files below some folders; what vanishes or cannot be listed has none."""
    total = 0
    for folder in folders:
        with suppress(UnreadableFile):
            for name in names_below(str(folder)):
                with suppress(OSError):
                    total += os.stat(name).st_size
    return total
