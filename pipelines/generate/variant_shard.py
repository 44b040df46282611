"""Committed frames to committed variants, shard by shard."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from nightrain.datasets.conditions import Condition
from nightrain.datasets.shards.manifest import Entry, Manifest, Shard
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.shards.rows import GENERATION_COLUMNS
from nightrain.datasets.shards.schema import VARIANTS
from nightrain.datasets.shards.transaction import (
    OnRows,
    Rejected,
    ShardReport,
    frames_behind,
    ignore_rows,
    make_shard,
)
from nightrain.pipelines.engines.base import DeviceEngine, Engine
from nightrain.pipelines.generate.batch import Batch, BatchMaker, prepared_frames
from nightrain.pipelines.generate.batch_size import pin_batch_size
from nightrain.pipelines.generate.conditioning import read_captions
from nightrain.pipelines.generate.requests import Task, plan_tasks
from nightrain.pipelines.recipes.engine_registry import load_engine
from nightrain.pipelines.recipes.recipe import Recipe
from nightrain.pipelines.runs import stop as stopping
from nightrain.pipelines.runs.batches import in_batches
from nightrain.pipelines.runs.device_lock import sole_use
from nightrain.pipelines.runs.overlap import overlapped
from nightrain.pipelines.runs.stop import interrupt_if_stopped


@dataclass(frozen=True)
class GenerateShard:
    """Work that makes one shard of variants from a dataset's root and a recipe."""

    root: Path
    recipe: Recipe
    engine: Engine | None = None  # None: the recipe's own, built once per process

    def __call__(self, shard: Shard, on_rows: OnRows = ignore_rows) -> ShardReport:
        """Make the shard; raises CorruptShard for damaged frames, InvalidRequest, DiskFull.

        An engine with a device has it to itself for the whole shard.
        """
        engine = self.engine or load_engine(self.recipe)
        if not isinstance(engine, DeviceEngine) or Manifest(self.root).entry(shard):
            return self._make(shard, engine, on_rows)
        # Before the shard is leased: who waits for the device keeps nobody from the shard.
        with sole_use(engine.device_id(), give_up=lambda: stopping.current().requested) as held:
            if not held:
                return ShardReport(shard=shard, status="stopped")
            try:
                return self._make(shard, engine, on_rows)
            finally:
                engine.rest()

    def _make(self, shard: Shard, engine: Engine, on_rows: OnRows) -> ShardReport:
        manifest = Manifest(self.root)
        condition = Condition(shard.table.rpartition("/")[2])
        frames = frames_behind(manifest, shard, retry=0)
        about = {
            "recipe": self.recipe.name,
            "recipe_hash": self.recipe.hash,
            "recipe_json": self.recipe.model_dump_json(),
            "condition": str(condition),
            "split": frames.about.get("split", "none"),
            "frames_sha256": frames.rows.keys_sha256,
        }

        def produce(kept: dict[str, Row]) -> Iterator[Row | Rejected]:
            interrupt_if_stopped()
            tasks = partial(_tasks, manifest, shard, frames, self.recipe)
            limit, prepared = self.recipe.batch_size, prepared_frames()
            maker = BatchMaker(self.recipe, condition, engine, kept, prepared, limit)
            if not isinstance(engine, DeviceEngine):
                return _one_after_the_other(tasks(), maker)
            size = pin_batch_size(manifest, self.recipe, engine, maker.requests(tasks()))
            return _side_by_side(tasks(), replace(maker, batch_size=size))

        return make_shard(manifest, shard, VARIANTS, about, produce, on_rows)


def _one_after_the_other(tasks: Iterable[Task], maker: BatchMaker) -> Iterator[Row | Rejected]:
    """The rows of a shard's tasks in order; raises ShardInterrupted between two batches."""
    for batch in in_batches(tasks, maker.batch_size):
        interrupt_if_stopped()
        yield from maker.complete(maker.run(maker.prepare(batch)))


def _side_by_side(tasks: Iterable[Task], maker: BatchMaker) -> Iterator[Row | Rejected]:
    """The same, with several batches on their way; those that were begun are finished."""

    def begin(batch: Batch) -> Batch:
        interrupt_if_stopped()
        return maker.begin(batch)

    batches = overlapped(
        in_batches(tasks, maker.batch_size),
        prepare=maker.embed,
        begin=begin,
        finish=maker.finish,
        complete=maker.complete,
    )
    with closing(batches):
        for rows in batches:
            yield from rows


def _tasks(manifest: Manifest, shard: Shard, frames: Entry, recipe: Recipe) -> Iterable[Task]:
    rows = manifest.reader(frames.rows).rows(GENERATION_COLUMNS)
    captions = read_captions(manifest, frames.shard, recipe)
    condition = Condition(shard.table.rpartition("/")[2])
    tasks = plan_tasks(rows, recipe, condition, captions)
    if not shard.retry:
        return tasks
    failed = failed_samples(manifest, shard)
    return (task for task in tasks if task.sample_id in failed)


def failed_samples(manifest: Manifest, shard: Shard) -> set[str]:
    """Sample ids that the attempt before this retry left in quarantine."""
    before = manifest.entry(shard.model_copy(update={"retry": shard.retry - 1}))
    if before is None or before.quarantine is None:
        return set()
    return set(manifest.reader(before.quarantine).table(["sample_id"]).column(0).to_pylist())
