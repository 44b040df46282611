"""Batches: planned requests become variant rows, in steps that can overlap across batches."""

import hashlib
import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.frame import scaled_intrinsics
from nightrain.datasets.io.images import encode_jpeg, resize_image
from nightrain.datasets.io.marks import Mark, marked
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.shards.rows import quarantine_row
from nightrain.datasets.shards.schema import SCHEMA_VERSION
from nightrain.datasets.shards.transaction import Rejected
from nightrain.pipelines.engines.base import Engine, Request, Variant
from nightrain.pipelines.engines.registry import load_engine
from nightrain.pipelines.engines.retry import (
    MAX_ATTEMPTS,
    Outcomes,
    begin_batch,
    embed_batch,
    finish_batch,
    run_engine,
)
from nightrain.pipelines.gates.apply import GATE_REASONS, apply_gates
from nightrain.pipelines.gates.base import Gate
from nightrain.pipelines.gates.columns import gate_columns
from nightrain.pipelines.gates.registry import load_gates
from nightrain.pipelines.gates.rejected import reject
from nightrain.pipelines.generate.prepare import PreparedFrame, PreparedFrames
from nightrain.pipelines.generate.requests import PlannedRequest, request_for
from nightrain.pipelines.recipes.recipe import Recipe
from nightrain.pipelines.runs.builds import IMAGE_LIBRARIES, builds_of

_of_this_thread = threading.local()  # prepared frames are not shared between threads


@dataclass(slots=True)
class Batch:
    """State of one batch: its planned requests and the results so far."""

    planned: Sequence[PlannedRequest]
    results: dict[str, Row | Rejected]  # by sample id; initially those that need no engine
    requested: list[tuple[PlannedRequest, PreparedFrame, Request]] = field(default_factory=list)
    state: Any = None  # result of the engine's latest step
    outcomes: Outcomes = field(default_factory=list)  # one for each of `requested`
    seconds: float = 0.0  # time spent in the engine

    @property
    def requests(self) -> list[Request]:
        """Requests for the engine."""
        return [request for _, _, request in self.requested]


@dataclass(frozen=True)
class BatchGenerator:
    """Turns batches of planned requests into variant rows, for one condition of a recipe.

    Each step takes a batch and returns it. `prepare` and `embed` may run in a different thread from
    the other steps, but always in the same one.
    """

    recipe: Recipe
    condition: Condition
    engine: Engine
    kept: Mapping[str, Row]  # rows that an interrupted run had finished
    frames: PreparedFrames
    batch_size: int
    failed_before: bool = False  # the samples of a retry, which may well fail alike

    def prepare(self, planned: Sequence[PlannedRequest]) -> Batch:
        """Prepare frames and requests; kept rows already count as results."""
        names = [one.sample_id for one in planned]
        batch = Batch(planned, {name: self.kept[name] for name in names if name in self.kept})
        for one in planned:
            if one.sample_id in batch.results:
                continue
            try:
                batch.requested.append((one, *self._request(one)))
            except DamagedInput as error:
                reason = error.reason
                batch.results[one.sample_id] = _rejected(one, self.condition, reason, error, 1)
        return batch

    def requests(self, planned: Iterable[PlannedRequest]) -> Iterator[Request]:
        """Yield the planned requests, without those of damaged frames."""
        for one in planned:
            with suppress(DamagedInput):
                yield self._request(one)[1]

    def _request(self, planned: PlannedRequest) -> tuple[PreparedFrame, Request]:
        """Prepare the frame and the engine's request; raises DamagedInput."""
        prepared = self.frames.get(planned.row, self.recipe)
        return prepared, request_for(planned, prepared, self.condition, self.recipe)

    def run(self, batch: Batch) -> Batch:
        """Run the engine's three steps in sequence, with its device locked."""
        started = time.perf_counter()
        batch.outcomes = run_engine(self.engine, batch.requests, self.batch_size)
        batch.seconds = time.perf_counter() - started
        return batch

    def embed(self, planned: Sequence[PlannedRequest]) -> Batch:
        """Prepare a batch and run the engine's first step."""
        batch = self.prepare(planned)
        batch.state = embed_batch(self.engine, batch.requests)
        return batch

    def begin(self, batch: Batch) -> Batch:
        """Run the engine's second step, which does not wait for a device."""
        started = time.perf_counter()
        batch.state = begin_batch(self.engine, batch.state, self.batch_size)
        batch.seconds += time.perf_counter() - started
        return batch

    def finish(self, batch: Batch) -> Batch:
        """Run the engine's last step: wait for the outcomes."""
        started = time.perf_counter()
        begun, batch.state = batch.state, None  # holds memory of the device
        batch.outcomes = finish_batch(
            self.engine, batch.requests, begun, self.batch_size, failed_before=self.failed_before
        )
        batch.seconds += time.perf_counter() - started
        return batch

    def complete(self, batch: Batch) -> list[Row | Rejected]:
        """Apply the gates, resize and encode the images; one row per planned request, in order."""
        seconds = batch.seconds / max(1, len(batch.outcomes))
        gates = load_gates(self.recipe.gates)
        for (one, prepared, request), outcome in zip(batch.requested, batch.outcomes, strict=True):
            batch.results[one.sample_id] = (
                _failed(one, self.condition, outcome)
                if isinstance(outcome, Exception)
                else self._judged(one, prepared, request, outcome, gates, seconds)
            )
        return [batch.results[one.sample_id] for one in batch.planned]

    def _judged(
        self,
        planned: PlannedRequest,
        prepared: PreparedFrame,
        request: Request,
        variant: Variant,
        gates: Mapping[str, Gate],
        seconds: float,
    ) -> Row | Rejected:
        """Row of a variant that the gates accept, or the rejected variant."""
        recipe = self.recipe
        try:
            verdict = apply_gates(recipe.gates, gates, request, variant, recipe.gates_inverted)
        except DamagedInput as error:
            return _failed(planned, self.condition, error)
        row = _row(planned, prepared, request, variant, recipe, self.batch_size, seconds)
        row |= gate_columns(
            recipe.names_of_gates,
            verdict,
            planned.rejected_seeds,
            request.depth_m,
            prepared.stored_size,
            planned.sample_id,
        )
        return reject(row, planned.ref, verdict) if verdict.rejections else row


def generate_batch(
    planned: Sequence[PlannedRequest],
    kept: Mapping[str, Row],
    recipe: Recipe,
    condition: Condition,
    engine: Engine | None = None,
    batch_size: int | None = None,
) -> list[Row | Rejected]:
    """Return the rows of planned requests in order; rows of `kept` are not generated again.

    `batch_size` is the recipe's pinned batch size; None means its limit. Raises InvalidRequest.
    """
    engine, size = engine or load_engine(recipe.engine), batch_size or recipe.batch_size
    generator = BatchGenerator(recipe, condition, engine, kept, prepared_frames(), size)
    return generator.complete(generator.run(generator.prepare(planned)))


def prepared_frames() -> PreparedFrames:
    """Return this thread's cache of prepared frames, shared by all conditions of a shard."""
    if not hasattr(_of_this_thread, "prepared_frames"):
        _of_this_thread.prepared_frames = PreparedFrames()
    return _of_this_thread.prepared_frames


def _failed(planned: PlannedRequest, condition: Condition, error: Exception) -> Rejected:
    reason = error.reason if isinstance(error, DamagedInput) else Reason.ENGINE_ERROR
    attempts = planned.seed_number + 1 if reason in GATE_REASONS else MAX_ATTEMPTS
    return _rejected(planned, condition, reason, error, attempts)


def _row(
    planned: PlannedRequest,
    prepared: PreparedFrame,
    request: Request,
    variant: Variant,
    recipe: Recipe,
    batch_size: int,
    seconds: float,
) -> Row:
    generated_size = (variant.image.shape[1], variant.image.shape[0])
    width, height = prepared.stored_size
    data = variant.jpeg if generated_size == prepared.stored_size else None
    data = data or encode_jpeg(resize_image(variant.image, (width, height)), recipe.jpeg_quality)
    data = marked(data, mark_of(recipe, planned.settings_hash, planned.row["licence"]))
    intrinsics = scaled_intrinsics(prepared.intrinsics, generated_size, prepared.stored_size)
    origin = ("source_id", "source_dataset", "split", "scene_id", "camera", "timestamp_us")
    facts = variant.provenance
    return {
        "sample_id": planned.sample_id,
        "frame_id": planned.ref.frame_id,
        **{name: planned.row[name] for name in (*origin, "licence", "attribution")},
        "condition": str(request.condition),
        "image": {"bytes": data, "path": f"{planned.sample_id}.jpg"},
        "image_sha256": hashlib.sha256(data).hexdigest(),
        "width": width,
        "height": height,
        "intrinsics": [float(x) for x in intrinsics.ravel()],
        "severity": planned.severity if recipe.engine.uses_severity else None,
        "physical": variant.physical,
        "seed": planned.seed,
        "seed_number": planned.seed_number,
        "variant_index": planned.variant_index,
        "recipe": recipe.engine.folder(planned.settings_hash),
        "recipe_hash": planned.settings_hash,
        "engine": recipe.engine.name,
        "engine_version": recipe.engine_versions.get(request.condition, ""),
        "depth_source": prepared.depth_source,
        "caption": planned.caption if request.prompt else None,
        "prompt": request.prompt or None,
        "num_steps": variant.num_steps,
        "control_steps": None if variant.control_steps is None else list(variant.control_steps),
        "controlled": None if variant.control_steps is None else _controlled(variant),
        "provenance": json.dumps(facts, sort_keys=True) if facts else None,
        "batch_size": int(facts.get("batch_size", batch_size)),
        "builds": builds_of((*IMAGE_LIBRARIES, *recipe.engine.libraries)),
        "device": facts.get("device", "cpu"),
        "created_at": datetime.now(UTC),
        "gen_seconds": seconds,
        "schema_version": SCHEMA_VERSION,
    }


def mark_of(recipe: Recipe, settings_hash: str, licence: str | None) -> Mark:
    """Mark of the variants of a recipe with settings of a hash."""
    tool = f"nightrain {recipe.engine.name} {settings_hash}"
    return Mark(recipe.engine.source_type, tool, licence or "")


def _controlled(variant: Variant) -> bool:
    """Whether control images kept the frame's geometry: there are some, and all of them acted."""
    steps = variant.control_steps or ()
    return bool(steps) and all(steps)


def _rejected(
    planned: PlannedRequest, condition: Condition, reason: Reason, error: Exception, attempts: int
) -> Rejected:
    return Rejected(
        quarantine_row(
            planned.ref,
            planned.row["source_dataset"],
            str(condition),
            reason,
            error,
            sample_id=planned.sample_id,
            attempts=attempts,
            variant_index=planned.variant_index,
            created_at=datetime.now(UTC),
        )
    )
