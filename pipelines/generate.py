"""Committed frames to committed variants, shard by shard."""

import functools
import hashlib
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from datasets.catalog import FRAMES, Catalog, Shard
from datasets.errors import DamagedInput, NightrainError, Reason
from datasets.frame import Condition
from datasets.ids import sample_id, sample_seed
from datasets.images import encode_jpeg
from datasets.rows import GENERATION_COLUMNS, quarantine_row, ref_from_row
from datasets.schema import PHYSICAL, SCHEMA_VERSION, VARIANTS
from datasets.shards import Row
from datasets.source import FrameRef
from pipelines import stop as stopping
from pipelines.engines.base import Engine, Request, Variant
from pipelines.engines.load import load_engine
from pipelines.prepare import PreparedFrame, PreparedFrames
from pipelines.recipe import Recipe
from pipelines.shardwork import (
    OnRows,
    Rejected,
    ShardReport,
    StopRequested,
    ignore_rows,
    make_shard,
)

PHYSICAL_NAMES = {field.name for field in PHYSICAL}
MAX_ATTEMPTS = 3  # of one sample before it is quarantined

T = TypeVar("T")

_of_this_thread = threading.local()  # prepared frames are not shared between threads


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One variant to make of one frame."""

    ref: FrameRef
    row: Row  # the frame's row, not decoded yet
    sample_id: str
    variant_index: int
    seed: int
    severity: float


@dataclass(frozen=True)
class GenerateShard:
    """Work that makes one shard of variants from a dataset's root and a recipe."""

    root: Path
    recipe: Recipe
    engine: Engine | None = None  # None: the recipe's own, built once per process

    def __call__(self, shard: Shard, on_rows: OnRows = ignore_rows) -> ShardReport:
        """Make the shard; raises CorruptShard for damaged frames, DiskFull."""
        catalog = Catalog(self.root)
        condition = Condition(shard.table.rpartition("/")[2])
        frames = catalog.entry(Shard(table=FRAMES, number=shard.number))
        if frames is None:
            raise NightrainError(
                f"{shard.name} needs frames shard {shard.number:05d}, which is not committed in "
                f"{self.root}. Run `nightrain ingest` again: it finishes what is missing."
            )
        about = {
            "recipe": self.recipe.name,
            "recipe_hash": self.recipe.hash,
            "recipe_json": self.recipe.model_dump_json(),
            "condition": str(condition),
            "split": frames.about.get("split", "none"),
            "frames_sha256": frames.rows.keys_sha256,
        }

        def produce(kept: dict[str, Row]) -> Iterator[Row | Rejected]:
            rows = catalog.reader(frames.rows).rows(GENERATION_COLUMNS)
            tasks = plan_tasks(rows, self.recipe, condition)
            if shard.retry:
                failed = failed_samples(catalog, shard)
                tasks = (task for task in tasks if task.sample_id in failed)
            for batch in in_batches(tasks, self.recipe.batch_size):
                if stopping.current().requested:
                    raise StopRequested
                yield from make_batch(batch, kept, self.recipe, condition, self.engine)

        return make_shard(catalog, shard, VARIANTS, about, produce, on_rows)


def plan_tasks(rows: Iterable[Row], recipe: Recipe, condition: Condition) -> Iterator[Task]:
    """The variants to make of frames' rows, in order: frame by frame, index by index."""
    severity = recipe.conditions[condition]
    for row in rows:
        ref = ref_from_row(row)
        for index in range(recipe.variants_per_frame):
            name = (ref.frame_id, str(condition), recipe.hash, index)
            seed = sample_seed(*name)
            draw = np.random.default_rng([seed, 1]).uniform(severity.lowest, severity.highest)
            yield Task(
                ref=ref,
                row=row,
                sample_id=sample_id(*name),
                variant_index=index,
                seed=seed,
                severity=float(np.float32(draw)),
            )


def failed_samples(catalog: Catalog, shard: Shard) -> set[str]:
    """Sample ids that the attempt before this retry left in quarantine."""
    before = catalog.entry(shard.model_copy(update={"retry": shard.retry - 1}))
    if before is None or before.quarantine is None:
        return set()
    return set(catalog.reader(before.quarantine).table(["sample_id"]).column(0).to_pylist())


def make_batch(
    batch: Sequence[Task],
    kept: dict[str, Row],
    recipe: Recipe,
    condition: Condition,
    engine: Engine | None = None,
) -> Iterator[Row | Rejected]:
    """Rows of a batch in order; what an interrupted run had finished is not made again."""
    results: dict[str, Row | Rejected] = {
        t.sample_id: kept[t.sample_id] for t in batch if t.sample_id in kept
    }
    requests: list[tuple[Task, PreparedFrame]] = []
    for task in batch:
        if task.sample_id in results:
            continue
        try:
            requests.append((task, _prepared_frames().get(task.row, recipe)))
        except DamagedInput as error:
            results[task.sample_id] = _rejected(task, condition, error.reason, error, 1)
    started = time.perf_counter()
    engine = engine or load_engine(recipe.engine)
    made = run_engine(engine, [request_for(t, p, condition) for t, p in requests])
    seconds = (time.perf_counter() - started) / max(1, len(made))
    for (task, prepared), outcome in zip(requests, made, strict=True):
        results[task.sample_id] = _finish(task, prepared, outcome, recipe, condition, seconds)
    for task in batch:
        yield results[task.sample_id]


def run_engine(engine: Engine, requests: Sequence[Request]) -> list[Variant | Exception]:
    """One variant or failure per request; where a batch fails, its samples are run alone."""
    try:
        return list(_checked(requests, engine.generate(requests))) if requests else []
    except Exception:  # whatever an engine raises concerns some sample: find out which
        return [_run_alone(engine, request) for request in requests]


def _run_alone(engine: Engine, request: Request) -> Variant | Exception:
    for attempt in range(1, MAX_ATTEMPTS + 1):
        try:
            return _checked([request], engine.generate([request]))[0]
        except Exception as error:
            if attempt == MAX_ATTEMPTS:
                return error
    raise AssertionError("unreachable")


def _checked(requests: Sequence[Request], variants: Sequence[Variant]) -> Sequence[Variant]:
    """The variants, if they are what was asked for; raises DamagedInput."""
    if len(variants) != len(requests):
        raise DamagedInput(
            Reason.BAD_OUTPUT, f"{len(requests)} variants were asked for, {len(variants)} came"
        )
    for request, variant in zip(requests, variants, strict=True):
        if unknown := set(variant.physical) - PHYSICAL_NAMES:
            raise DamagedInput(
                Reason.BAD_OUTPUT, f"no column holds the physical values {sorted(unknown)}"
            )
        if variant.image.dtype != np.uint8 or variant.image.shape != request.image.shape:
            raise DamagedInput(
                Reason.BAD_OUTPUT,
                f"the engine gave {variant.image.dtype} {variant.image.shape}, expected uint8 "
                f"{request.image.shape}",
            )
    return variants


def request_for(task: Task, prepared: PreparedFrame, condition: Condition) -> Request:
    """What an engine is asked for one task."""
    return Request(
        sample_id=task.sample_id,
        image=prepared.image,
        depth_m=prepared.depth_m,
        intrinsics=prepared.intrinsics,
        T_ego_camera=prepared.T_ego_camera,
        condition=condition,
        severity=task.severity,
        seed=task.seed,
    )


def _finish(
    task: Task,
    prepared: PreparedFrame,
    outcome: Variant | Exception,
    recipe: Recipe,
    condition: Condition,
    seconds: float,
) -> Row | Rejected:
    if isinstance(outcome, Exception):
        reason = outcome.reason if isinstance(outcome, DamagedInput) else Reason.ENGINE_ERROR
        return _rejected(task, condition, reason, outcome, MAX_ATTEMPTS)
    data = encode_jpeg(outcome.image, recipe.jpeg_quality)
    height, width = outcome.image.shape[:2]
    origin = ("source_id", "source_dataset", "split", "scene_id", "camera", "timestamp_us")
    return {
        "sample_id": task.sample_id,
        "frame_id": task.ref.frame_id,
        **{name: task.row[name] for name in (*origin, "licence", "attribution")},
        "condition": str(condition),
        "image": {"bytes": data, "path": f"{task.sample_id}.jpg"},
        "image_sha256": hashlib.sha256(data).hexdigest(),
        "width": width,
        "height": height,
        "intrinsics": [float(x) for x in prepared.intrinsics.ravel()],
        "severity": task.severity,
        "physical": outcome.physical,
        "seed": task.seed,
        "variant_index": task.variant_index,
        "recipe": recipe.name,
        "recipe_hash": recipe.hash,
        "engine": recipe.engine,
        "engine_version": recipe.engine_version,
        "depth_source": prepared.depth_source,
        "batch_size": recipe.batch_size,
        "builds": library_builds(),
        "device": "cpu",
        "created_at": datetime.now(UTC),
        "gen_seconds": seconds,
        "schema_version": SCHEMA_VERSION,
    }


def _rejected(
    task: Task, condition: Condition, reason: Reason, error: Exception, attempts: int
) -> Rejected:
    return Rejected(
        quarantine_row(
            task.ref,
            task.row["source_dataset"],
            str(condition),
            reason,
            error,
            sample_id=task.sample_id,
            attempts=attempts,
            variant_index=task.variant_index,
            created_at=datetime.now(UTC),
        )
    )


def _prepared_frames() -> PreparedFrames:
    if not hasattr(_of_this_thread, "prepared_frames"):
        _of_this_thread.prepared_frames = PreparedFrames()
    return _of_this_thread.prepared_frames


@functools.cache
def library_builds() -> str:
    """Versions of what the bytes of a variant depend on."""
    names = ("nightrain", "numpy", "opencv-python-headless", "simplejpeg")
    return ", ".join(f"{name} {version(name)}" for name in names)


def in_batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items; the last may be shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
