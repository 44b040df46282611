"""What the Prefect flow costs over the local mode, once the server is up.

    python -m benchmarks.orchestration [--shards 2] [--seconds 30] [--repeats 2] [--json]

Both modes run the same plan in turn in one process. A shard is a wait of fixed length in batches,
so that what differs is orchestration alone.
"""

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import flows  # its settings must be there before prefect is imported
from benchmarks.report import Figure, print_figures
from datasets.catalog import Catalog, Shard
from pipelines.execute import Executor, SerialExecutor, run_plan
from pipelines.shardwork import OnRows, ShardReport, ignore_rows
from pipelines.stop import Stop

BATCHES_PER_SHARD = 16
ROWS_PER_BATCH = 8


class Waiting:
    """Work that takes a fixed time per shard, in batches, as generation does."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, shard: Shard, on_rows: OnRows = ignore_rows) -> ShardReport:
        """Wait and report."""
        for _ in range(BATCHES_PER_SHARD):
            time.sleep(self.seconds / BATCHES_PER_SHARD)
            on_rows(ROWS_PER_BATCH)
        num_rows = BATCHES_PER_SHARD * ROWS_PER_BATCH
        return ShardReport(shard=shard, status="committed", num_rows=num_rows)


def measure(num_shards: int, seconds: float, repeats: int) -> list[Figure]:
    """Wall time of a plan in both modes, in turn; the server is up before the first."""
    from prefect import flow
    from prefect.artifacts import create_progress_artifact, update_progress_artifact

    from flows.executor import PrefectExecutor

    @flow(name="generate-variants-bench")
    def through_prefect(shard_seconds: float) -> None:
        artifact = cast(Any, create_progress_artifact(0.0, key="bench"))

        def show(share: float) -> None:
            update_progress_artifact(artifact, 100.0 * share)

        run(num_shards, shard_seconds, PrefectExecutor(on_share=show))

    through_prefect(0.0)
    plain, prefect = [], []
    for _ in range(repeats):
        plain.append(timed(lambda: run(num_shards, seconds, SerialExecutor())))
        prefect.append(timed(lambda: through_prefect(seconds)))
    ratio = statistics.median(p / q for p, q in zip(prefect, plain, strict=True))
    return [
        Figure(f"local mode, {num_shards} shards", statistics.median(plain), "s", ""),
        Figure(f"Prefect flow, {num_shards} shards", statistics.median(prefect), "s", ""),
        Figure(f"overhead at {seconds:g} s a shard", 100 * (ratio - 1), "%", "at most 5"),
    ]


def run(num_shards: int, seconds: float, executor: Executor) -> None:
    """Run the waiting plan to its end."""
    shards = [Shard(table="variants/bench/fog", number=n) for n in range(num_shards)]
    with tempfile.TemporaryDirectory() as folder:
        catalog = Catalog(Path(folder))
        reports = list(run_plan(catalog, shards, Waiting(seconds), executor, Stop()))
    assert len(reports) == num_shards


def timed(work: Callable[[], None]) -> float:
    """Seconds of wall time."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    assert flows
    logging.getLogger("prefect").setLevel(logging.WARNING)
    figures = measure(options.shards, options.seconds, options.repeats)
    print_figures("orchestration", figures, options.json)
