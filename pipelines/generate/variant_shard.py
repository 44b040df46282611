"""Variant shards: generate the variants of one shard of frames and one condition."""

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import NightrainError
from nightrain.datasets.shards.manifest import Entry, Manifest, Shard
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.shards.schema import VARIANTS
from nightrain.datasets.shards.transaction import (
    OnRows,
    Rejected,
    ShardReport,
    frames_behind,
    ignore_rows,
    make_shard,
)
from nightrain.pipelines.engines.base import Engine
from nightrain.pipelines.engines.registry import load_engine
from nightrain.pipelines.engines.retry import resting
from nightrain.pipelines.gates.rejected import seed_number_to_retry
from nightrain.pipelines.generate.batch import Batch, BatchGenerator, prepared_frames
from nightrain.pipelines.generate.batch_size import pin_batch_size
from nightrain.pipelines.generate.conditioning import generation_rows, read_captions
from nightrain.pipelines.generate.requests import PlannedRequest, plan_requests
from nightrain.pipelines.generate.seeds import rows_of_seeds, with_seed
from nightrain.pipelines.recipes.recipe import Recipe
from nightrain.pipelines.recipes.shard_facts import shard_facts
from nightrain.pipelines.runs import stop as stopping
from nightrain.pipelines.runs.batches import ENGINE_FAULTS, in_batches
from nightrain.pipelines.runs.device_lock import sole_use
from nightrain.pipelines.runs.overlap import overlapped
from nightrain.pipelines.runs.stop import interrupt_if_stopped

T = TypeVar("T")
D = TypeVar("D")


@dataclass(frozen=True)
class GenerateShard:
    """Generates one shard of variants; picklable work for an executor."""

    root: Path
    recipe: Recipe
    engine: Engine | None = None  # None: the recipe's own, built once per process

    def __call__(self, shard: Shard, on_rows: OnRows = ignore_rows) -> ShardReport:
        """Generate the shard; raises CorruptShard for damaged frames, InvalidRequest, DiskFull.

        The engine's device is locked for the whole shard. Raises RunFailure for an error that the
        other shards would meet as well, and NightrainError if the engine failed on every sample.
        """
        engine = self.engine or load_engine(self.recipe.engine)
        if Manifest(self.root).entry(shard):  # committed: no need to wait for the device
            return self._make(shard, engine, on_rows)
        # Before leasing the shard, because another process may take it while this one waits.
        with sole_use(engine.device_id(), give_up=lambda: stopping.current().interrupted) as held:
            if not held:
                return ShardReport(shard=shard, status="stopped")
            with resting(engine):
                return self._make(shard, engine, on_rows)

    def _make(self, shard: Shard, engine: Engine, on_rows: OnRows) -> ShardReport:
        manifest = Manifest(self.root)
        condition = Condition(shard.table.rpartition("/")[2])
        frames = frames_behind(manifest, shard, retry=0)
        about = shard_facts(self.recipe, condition, frames)

        def produce(kept: dict[str, Row]) -> Iterator[Row | Rejected]:
            interrupt_if_stopped()
            planned = partial(_planned_requests, manifest, shard, frames, self.recipe)
            limit, prepared = self.recipe.batch_size, prepared_frames()
            generator = BatchGenerator(
                self.recipe,
                condition,
                engine,
                kept,
                prepared,
                limit,
                failed_before=bool(shard.retry),
            )
            requests = generator.requests(planned())
            size = pin_batch_size(manifest, self.recipe, condition, engine, requests)
            rows = _rows(planned(), replace(generator, batch_size=size))
            return rows if shard.retry else _unless_the_engine_made_none(rows, shard)

        return make_shard(manifest, shard, VARIANTS, about, produce, on_rows)


def _unless_the_engine_made_none(
    rows: Iterator[Row | Rejected], shard: Shard
) -> Iterator[Row | Rejected]:
    """Yield all rows; raises NightrainError at the end if the engine failed on every sample.

    A shard without rows would otherwise be committed for a fault of the engine. A single frame that
    fails may be at fault itself.
    """
    num_made, faults = 0, dict[str, str]()
    for row in rows:
        if not isinstance(row, Rejected):
            num_made += 1
        elif row.row["reason"] in ENGINE_FAULTS:
            faults.setdefault(row.row["frame_id"], row.row["message"])
        yield row
    if len(faults) > 1 and not num_made:
        raise NightrainError(
            f"The engine generated no variant of the {len(faults)} frames of {shard.name}, so "
            f"nothing was committed. The first failure: {next(iter(faults.values()))}"
        )


def _rows(planned: Iterable[PlannedRequest], generator: BatchGenerator) -> Iterator[Row | Rejected]:
    """Yield the rows of planned requests in order; raises ShardInterrupted between batches.

    Those that gates reject follow with further seeds.
    """
    kept, recipe, condition = generator.kept, generator.recipe, generator.condition
    run = partial(_once, generator=generator)
    return rows_of_seeds(planned, kept, recipe, condition, run)


def _once(
    planned: Iterable[PlannedRequest], generator: BatchGenerator
) -> Iterator[tuple[PlannedRequest, Row | Rejected]]:
    """Yield requests with their rows, one seed each; raises ShardInterrupted between batches.

    Batches in progress are finished first.
    """

    def begin(batch: Batch) -> Batch:
        interrupt_if_stopped()
        return generator.begin(batch)

    run = overlapped if generator.engine.overlaps else _in_turn
    batches = run(
        in_batches(planned, generator.batch_size),
        prepare=generator.embed,
        begin=begin,
        finish=generator.finish,
        complete=lambda batch: zip(batch.planned, generator.complete(batch), strict=True),
    )
    with closing(batches):
        for rows in batches:
            yield from rows


def _in_turn(
    items: Iterable[T],
    *,
    prepare: Callable[[T], Any],
    begin: Callable[[Any], Any],
    finish: Callable[[Any], Any],
    complete: Callable[[Any], D],
) -> Generator[D, None, None]:
    """Run the same four steps as `overlapped`, but one batch after the other on this thread."""
    for item in items:
        yield complete(finish(begin(prepare(item))))


def _planned_requests(
    manifest: Manifest, shard: Shard, frames: Entry, recipe: Recipe
) -> Iterable[PlannedRequest]:
    rows = generation_rows(manifest, frames, recipe)
    captions = read_captions(manifest, frames.shard, recipe)
    condition = Condition(shard.table.rpartition("/")[2])
    planned = plan_requests(rows, recipe, condition, captions)
    if shard.retry:
        seeds = failed_samples(manifest, shard)
        planned = (
            with_seed(one, seeds[one.sample_id], recipe, condition)
            for one in planned
            if one.sample_id in seeds
        )
    # Of a shard that is made again after a repair, later retries may have some rows.
    done = retried_samples(manifest, shard)
    return (one for one in planned if one.sample_id not in done) if done else planned


def retried_samples(manifest: Manifest, shard: Shard) -> set[str]:
    """Return the sample ids that later retries of a shard have committed; mostly none."""
    done: set[str] = set()
    for retry in itertools.count(shard.retry + 1):
        entry = manifest.entry(shard.model_copy(update={"retry": retry}))
        if entry is None:
            return done
        done |= set(manifest.reader(entry.rows).table(["sample_id"]).column(0).to_pylist())
    return done


def failed_samples(manifest: Manifest, shard: Shard) -> dict[str, int]:
    """Return the samples that the previous attempt at a shard left in quarantine.

    Each has the number of the seed to try: that of the failure, or the next one where gates
    rejected the variant.
    """
    before = manifest.entry(shard.model_copy(update={"retry": shard.retry - 1}))
    if before is None or before.quarantine is None:
        return {}
    rows = manifest.reader(before.quarantine).rows(("sample_id", "reason", "variant"))
    return {row["sample_id"]: seed_number_to_retry(row) for row in rows}
