"""A batch of tasks on its way to rows, in steps that can overlap with those of other batches."""

import functools
import hashlib
import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.frame import scaled_intrinsics
from nightrain.datasets.io.images import encode_jpeg, resize_image
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.shards.rows import quarantine_row
from nightrain.datasets.shards.schema import SCHEMA_VERSION
from nightrain.datasets.shards.transaction import Rejected
from nightrain.pipelines.engines.base import Engine, Request, Variant
from nightrain.pipelines.engines.registry import load_engine
from nightrain.pipelines.gates.apply import GATE_REASONS, apply_gates
from nightrain.pipelines.gates.registry import load_gates
from nightrain.pipelines.generate.prepare import PreparedFrame, PreparedFrames
from nightrain.pipelines.generate.requests import Task, request_for
from nightrain.pipelines.generate.retry import (
    MAX_ATTEMPTS,
    Outcomes,
    begin_batch,
    embed_batch,
    finish_batch,
    run_engine,
)
from nightrain.pipelines.recipes.recipe import Recipe

_of_this_thread = threading.local()  # prepared frames are not shared between threads


@dataclass(slots=True)
class Batch:
    """Tasks and what has become of them so far."""

    tasks: Sequence[Task]
    results: dict[str, Row | Rejected]  # by sample id: those that need no engine, at first
    asked: list[tuple[Task, PreparedFrame, Request]] = field(default_factory=list)
    under_way: Any = None  # what the engine's last step gave
    made: Outcomes = field(default_factory=list)  # one for each of `asked`
    seconds: float = 0.0  # in the engine

    @property
    def requests(self) -> list[Request]:
        """What the engine is asked for."""
        return [request for _, _, request in self.asked]


@dataclass(frozen=True)
class BatchMaker:
    """The steps from tasks to rows, for one condition of a recipe.

    Each step takes a batch and gives it on. `prepare` may run in another thread than the rest, but
    always in the same one.
    """

    recipe: Recipe
    condition: Condition
    engine: Engine
    kept: Mapping[str, Row]  # rows that an interrupted run had finished
    frames: PreparedFrames
    batch_size: int

    def prepare(self, tasks: Sequence[Task]) -> Batch:
        """Prepare frames and requests; what was finished before is not made again."""
        names = [task.sample_id for task in tasks]
        batch = Batch(tasks, {name: self.kept[name] for name in names if name in self.kept})
        for task in tasks:
            if task.sample_id in batch.results:
                continue
            try:
                batch.asked.append((task, *self._ask(task)))
            except DamagedInput as error:
                reason = error.reason
                batch.results[task.sample_id] = _rejected(task, self.condition, reason, error, 1)
        return batch

    def requests(self, tasks: Iterable[Task]) -> Iterator[Request]:
        """The requests of those tasks of which one can be made."""
        for task in tasks:
            with suppress(DamagedInput):
                yield self._ask(task)[1]

    def _ask(self, task: Task) -> tuple[PreparedFrame, Request]:
        """The prepared frame of a task and the engine's request; raises DamagedInput."""
        prepared = self.frames.get(task.row, self.recipe)
        return prepared, request_for(task, prepared, self.condition, self.recipe)

    def run(self, batch: Batch) -> Batch:
        """Run the engine on a batch, all at once."""
        started = time.perf_counter()
        batch.made = run_engine(self.engine, batch.requests, self.batch_size)
        batch.seconds = time.perf_counter() - started
        return batch

    def embed(self, tasks: Sequence[Task]) -> Batch:
        """`prepare`, and the first step of an engine with a device."""
        batch = self.prepare(tasks)
        batch.under_way = embed_batch(self.engine, batch.requests)
        return batch

    def begin(self, batch: Batch) -> Batch:
        """Give the device a batch and do not wait for it."""
        started = time.perf_counter()
        batch.under_way = begin_batch(self.engine, batch.under_way, self.batch_size)
        batch.seconds += time.perf_counter() - started
        return batch

    def finish(self, batch: Batch) -> Batch:
        """Wait for what was begun."""
        started = time.perf_counter()
        begun, batch.under_way = batch.under_way, None  # holds memory of the device
        batch.made = finish_batch(self.engine, batch.requests, begun, self.batch_size)
        batch.seconds += time.perf_counter() - started
        return batch

    def complete(self, batch: Batch) -> list[Row | Rejected]:
        """Resize and encode the pictures; one row per task, in order."""
        seconds = batch.seconds / max(1, len(batch.made))
        gates = load_gates(self.recipe.gates)
        for (task, prepared, request), outcome in zip(batch.asked, batch.made, strict=True):
            outcome = apply_gates(gates, request, outcome)
            batch.results[task.sample_id] = (
                _failed(task, self.condition, outcome)
                if isinstance(outcome, Exception)
                else _row(task, prepared, request, outcome, self.recipe, self.batch_size, seconds)
            )
        return [batch.results[task.sample_id] for task in batch.tasks]


def make_batch(
    batch: Sequence[Task],
    kept: Mapping[str, Row],
    recipe: Recipe,
    condition: Condition,
    engine: Engine | None = None,
    batch_size: int | None = None,
) -> list[Row | Rejected]:
    """Rows of a batch in order; what an interrupted run had finished is not made again.

    `batch_size` is the settled one of the recipe; None: its limit. Raises InvalidRequest.
    """
    engine, size = engine or load_engine(recipe.engine), batch_size or recipe.batch_size
    maker = BatchMaker(recipe, condition, engine, kept, prepared_frames(), size)
    return maker.complete(maker.run(maker.prepare(batch)))


def prepared_frames() -> PreparedFrames:
    """The latest prepared frames of this thread: the conditions of a shard need the same ones."""
    if not hasattr(_of_this_thread, "prepared_frames"):
        _of_this_thread.prepared_frames = PreparedFrames()
    return _of_this_thread.prepared_frames


def _failed(task: Task, condition: Condition, error: Exception) -> Rejected:
    reason = error.reason if isinstance(error, DamagedInput) else Reason.ENGINE_ERROR
    attempts = 1 if reason in GATE_REASONS else MAX_ATTEMPTS
    return _rejected(task, condition, reason, error, attempts)


def _row(
    task: Task,
    prepared: PreparedFrame,
    request: Request,
    made: Variant,
    recipe: Recipe,
    batch_size: int,
    seconds: float,
) -> Row:
    drawn = (made.image.shape[1], made.image.shape[0])
    width, height = prepared.stored_size
    data = encode_jpeg(resize_image(made.image, prepared.stored_size), recipe.jpeg_quality)
    intrinsics = scaled_intrinsics(prepared.intrinsics, drawn, prepared.stored_size)
    origin = ("source_id", "source_dataset", "split", "scene_id", "camera", "timestamp_us")
    facts = made.provenance
    return {
        "sample_id": task.sample_id,
        "frame_id": task.ref.frame_id,
        **{name: task.row[name] for name in (*origin, "licence", "attribution")},
        "condition": str(request.condition),
        "image": {"bytes": data, "path": f"{task.sample_id}.jpg"},
        "image_sha256": hashlib.sha256(data).hexdigest(),
        "width": width,
        "height": height,
        "intrinsics": [float(x) for x in intrinsics.ravel()],
        "severity": task.severity,
        "physical": made.physical,
        "seed": task.seed,
        "variant_index": task.variant_index,
        "recipe": recipe.name,
        "recipe_hash": recipe.hash,
        "engine": recipe.engine.name,
        "engine_version": recipe.engine_version,
        "depth_source": prepared.depth_source,
        "caption": task.caption if request.prompt else None,
        "prompt": request.prompt or None,
        "provenance": json.dumps(facts, sort_keys=True) if facts else None,
        "batch_size": int(facts.get("batch_size", batch_size)),
        "builds": library_builds(recipe.engine.libraries),
        "device": facts.get("device", "cpu"),
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


@functools.cache
def library_builds(libraries: tuple[str, ...]) -> str:
    """Return the versions of the libraries that the bytes of an engine's variants depend on."""
    names = ("nightrain", "numpy", "opencv-python-headless", "simplejpeg", *libraries)
    return ", ".join(f"{name} {version(name)}" for name in names)
