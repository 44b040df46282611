"""Prefect overhead: wall time of a flow against local mode, with 30 s of work per shard.

    python -m nightrain.benchmarks.orchestration [--shards 2] [--seconds 30] [--repeats 2] [--json]

Both modes take turns in one process, after the Prefect server has started and each mode has run
once in small. "waiting" processes shards that only sleep and use no CPU, so that the difference is
orchestration alone, with its logs, events, polling and report; "generating" makes real variants of
the built-in world with the weather engine. The overhead is in per cent of local mode. "nothing to
do" is the command `generate` in a process of its own, on a dataset that has all variants: neither
mode starts a server for it.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nightrain.flows  # noqa: F401  (its settings must be there before prefect is imported)
from nightrain.benchmarks.manifest import write_manifest
from nightrain.benchmarks.report import Figure, print_figures, timed_child
from nightrain.datasets.shards.manifest import Shard
from nightrain.datasets.shards.transaction import OnRows, ShardReport, ignore_rows
from nightrain.datasets.sources.nuscenes.config import NuScenesConfig
from nightrain.datasets.sources.nuscenes.source import NuScenesSource
from nightrain.datasets.world.export.writer import VERSION, write_world
from nightrain.pipelines.engines.registry import load_engine
from nightrain.pipelines.generate.job import GenerateJob, generate
from nightrain.pipelines.ingest.job import ingest_frames
from nightrain.pipelines.recipes.recipe_file import load_recipe
from nightrain.pipelines.runs.executors import Executor, SerialExecutor
from nightrain.pipelines.runs.run import RunReport, run
from nightrain.pipelines.runs.stop import Stop

BATCHES_PER_SHARD = 16
ROWS_PER_BATCH = 8
VARIANTS_PER_SECOND = 59  # approximate rate of RECIPE, to choose a count for the given seconds
NUM_FRAMES = 18
NOTHING_TO_DO_CPU_S = 2.0
RECIPE = """
name: bench
depth: exact
variants_per_frame: {variants_per_frame}
conditions:
  night: {{lowest: 0.2, highest: 0.9}}
  rain: {{lowest: 0.2, highest: 0.9}}
"""


class Waiting:
    """Shard work that sleeps for a fixed time, in batches, as generation does."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, shard: Shard, on_rows: OnRows = ignore_rows) -> ShardReport:
        """Sleep, and report the progress of each batch."""
        for _ in range(BATCHES_PER_SHARD):
            time.sleep(self.seconds / BATCHES_PER_SHARD)
            on_rows(ROWS_PER_BATCH)
        num_rows = BATCHES_PER_SHARD * ROWS_PER_BATCH
        return ShardReport(shard=shard, status="committed", num_rows=num_rows)


class WaitingJob:
    """A job of shards that only sleep; they use no CPU, and none is committed."""

    title, tags = "waiting on bench", ("bench",)

    def __init__(self, dataset: Path, num_shards: int, seconds: float) -> None:
        self.dataset, self.work = dataset, Waiting(seconds)
        self.shards = [Shard(table="variants/bench/fog", number=n) for n in range(num_shards)]

    def __call__(
        self,
        *,
        executor: Executor,
        stop: Stop,
        on_planned: OnRows = ignore_rows,
        on_rows: OnRows = ignore_rows,
    ) -> RunReport:
        """Run the shards, as every job does."""
        report = run(
            self.dataset,
            self.shards,
            self.work,
            executor=executor,
            stop=stop,
            num_rows=dict.fromkeys(self.shards, BATCHES_PER_SHARD * ROWS_PER_BATCH),
            on_planned=on_planned,
            on_rows=on_rows,
        )
        assert report.num_rows == len(self.shards) * BATCHES_PER_SHARD * ROWS_PER_BATCH
        return report


def measure_waiting(num_shards: int, seconds: float, repeats: int) -> list[Figure]:
    """Measure the wall time of shards that only sleep, in both modes."""
    from prefect import flow
    from prefect.client.schemas.objects import State

    from nightrain.flows.runtime.session import Session
    from nightrain.flows.runtime.shard_plan import run_shards

    @flow(name="generate-variants-bench", validate_parameters=False)
    def through_prefect(job: Any) -> State:
        return run_shards(job, job, "variants")

    with tempfile.TemporaryDirectory() as folder:
        jobs = [WaitingJob(Path(folder), num_shards, s) for s in (0.0, seconds)]
        Session().run(through_prefect, jobs[0])  # starts the server
        return compared(
            f"waiting, {num_shards} x {seconds:g} s",
            lambda: timed(lambda: jobs[1](executor=SerialExecutor(), stop=Stop())),
            lambda: timed(lambda: Session().run(through_prefect, jobs[1])),
            repeats,
        )


def measure_generating(seconds: float, repeats: int) -> list[Figure]:
    """Measure the wall time of two shards of real variants, in both modes."""
    from nightrain.flows.generate import generate_variants
    from nightrain.flows.runtime.session import Session, run_in_process

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_world(root / "world", scenes=1, frames=NUM_FRAMES, seed=0)
        source, stop = NuScenesSource(NuScenesConfig(root=root / "world", version=VERSION)), Stop()
        refs, executor = source.select("all"), SerialExecutor(stop)
        ingest_frames(root / "frames", source, refs, {}, executor=executor, stop=stop)
        count = max(1, round(seconds * VARIANTS_PER_SECOND / NUM_FRAMES))
        (root / "recipe.yaml").write_text(RECIPE.format(variants_per_frame=min(100, count)))

        (root / "warm-up.yaml").write_text(RECIPE.format(variants_per_frame=1))

        def on_a_copy(run: Callable[[GenerateJob], object], recipe: str = "recipe") -> float:
            copy = root / "copy"
            shutil.copytree(root / "frames", copy)
            job = GenerateJob(dataset=copy, recipe=str(root / f"{recipe}.yaml"))
            elapsed = timed(lambda: run(job))
            shutil.rmtree(copy)
            return elapsed

        def local(job: GenerateJob) -> None:
            generate(job, executor=SerialExecutor(Stop()), stop=Stop())

        def through_prefect(job: GenerateJob) -> None:
            run_in_process(Session(), generate_variants, job)

        for mode in (local, through_prefect):  # a process imports modules and compiles once
            on_a_copy(mode, "warm-up")
        return compared(
            "generating, 2 shards",
            lambda: on_a_copy(local),
            lambda: on_a_copy(through_prefect),
            repeats,
        )


def measure_nothing_to_do(repeats: int) -> list[Figure]:
    """Measure the CPU and wall time of `generate` with nothing to do, in both modes."""
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        root, home = Path(folder) / "dataset", Path(folder) / "prefect"
        write_manifest(root, NUM_FRAMES)
        for runner in ("local", "prefect"):
            words = (sys.executable, "-m", "nightrain.flows.cli", "generate", str(root))
            runs = [
                timed_child(
                    (*words, "--runner", runner), PREFECT_HOME=str(home), PREFECT_API_URL=""
                )
                for _ in range(repeats)
            ]
            for what, seconds in zip(("wall", "CPU"), zip(*runs, strict=True), strict=True):
                name = f"nothing to do, --runner {runner}: {what}"
                wanted = f"at most {NOTHING_TO_DO_CPU_S}" if what == "CPU" else ""
                figures.append(Figure(name, statistics.median(seconds), "s", wanted))
        if home.exists():
            raise SystemExit(f"Prefect was started for nothing: {os.listdir(home)}")
    return figures


def compared(
    what: str, local: Callable[[], float], prefect: Callable[[], float], repeats: int
) -> list[Figure]:
    """Run both modes in turn and return their median times and the overhead."""
    pairs = [(local(), prefect()) for _ in range(repeats)]
    overheads = [100 * (flow / plain - 1) for plain, flow in pairs]
    spread = f"{min(overheads):.1f} to {max(overheads):.1f}"
    return [
        Figure(f"{what}: local mode", statistics.median(p for p, _ in pairs), "s", ""),
        Figure(f"{what}: Prefect flow", statistics.median(f for _, f in pairs), "s", ""),
        Figure(f"{what}: overhead ({spread})", statistics.median(overheads), "%", "at most 2"),
    ]


def timed(work: Callable[[], object]) -> float:
    """Run `work` and return its wall time in seconds."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=2, help="number of waiting shards")
    parser.add_argument("--seconds", type=float, default=30.0, help="work per shard in seconds")
    parser.add_argument("--repeats", type=int, default=2, help="number of turns")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "WARNING")
    load_engine(load_recipe("weather").engine)  # before Prefect is imported, as in the command
    figures = measure_nothing_to_do(options.repeats)
    figures += measure_waiting(options.shards, options.seconds, options.repeats)
    figures += measure_generating(options.seconds, options.repeats)
    print_figures("orchestration", figures, options.json)
