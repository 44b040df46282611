"""Committed frames to committed variants, shard by shard."""

import functools
import hashlib
import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

from datasets.catalog import FRAMES, Catalog, Shard
from datasets.errors import DamagedInput, NightrainError, Reason, Refused
from datasets.frame import Condition, scaled_intrinsics
from datasets.ids import sample_id, sample_seed
from datasets.images import encode_jpeg, resize_image
from datasets.rows import GENERATION_COLUMNS, quarantine_row, ref_from_row
from datasets.schema import PHYSICAL, SCHEMA_VERSION, VARIANTS
from datasets.shards import Row
from datasets.source import FrameRef
from pipelines import stop as stopping
from pipelines.batches import in_batches
from pipelines.engines.base import Engine, ReportsOutcomes, Request, Variant
from pipelines.engines.load import load_engine
from pipelines.prepare import PreparedFrame, PreparedFrames
from pipelines.prompted import caption_of, prompted, read_captions
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
    caption: str = ""  # what the clear frame shows, in the captioner's words


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
            captions = read_captions(catalog, frames.shard, self.recipe)
            tasks = plan_tasks(rows, self.recipe, condition, captions)
            if shard.retry:
                failed = failed_samples(catalog, shard)
                tasks = (task for task in tasks if task.sample_id in failed)
            for batch in in_batches(tasks, self.recipe.batch_size):
                if stopping.current().requested:
                    raise StopRequested
                yield from make_batch(batch, kept, self.recipe, condition, self.engine)

        return make_shard(catalog, shard, VARIANTS, about, produce, on_rows)


def plan_tasks(
    rows: Iterable[Row], recipe: Recipe, condition: Condition, captions: Mapping[str, str] | None
) -> Iterator[Task]:
    """The variants to make of frames' rows, in order: frame by frame, index by index.

    `captions` by frame id are those of a captioner with weights; None: captions from the rows.
    """
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
                caption=caption_of(row, recipe, captions),
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
    asked: list[tuple[Task, PreparedFrame, Request]] = []
    for task in batch:
        if task.sample_id in results:
            continue
        try:
            prepared = _prepared_frames().get(task.row, recipe)
            asked.append((task, prepared, request_for(task, prepared, condition, recipe)))
        except DamagedInput as error:
            results[task.sample_id] = _rejected(task, condition, error.reason, error, 1)
    started = time.perf_counter()
    engine = engine or load_engine(recipe)
    made = run_engine(engine, [request for _, _, request in asked])
    seconds = (time.perf_counter() - started) / max(1, len(made))
    for (task, prepared, request), outcome in zip(asked, made, strict=True):
        results[task.sample_id] = (
            _failed(task, condition, outcome)
            if isinstance(outcome, Exception)
            else _row(task, prepared, request, outcome, recipe, seconds)
        )
    for task in batch:
        yield results[task.sample_id]


def run_engine(engine: Engine, requests: Sequence[Request]) -> list[Variant | Exception]:
    """One variant or failure per request; where a batch fails, its samples are run alone.

    An engine with `outcomes` says itself which of a batch failed. Refused is every sample's.
    """
    if not requests:
        return []
    try:
        if isinstance(engine, ReportsOutcomes):
            return _checked_outcomes(requests, engine.outcomes(requests))
        return list(_checked(requests, engine.generate(requests)))
    except Refused:  # no sample would fare better
        raise
    except Exception:  # whatever an engine raises concerns some sample: find out which
        return [_run_alone(engine, request) for request in requests]


def _checked_outcomes(
    requests: Sequence[Request], outcomes: Sequence[Variant | Exception]
) -> list[Variant | Exception]:
    """The outcomes; raises DamagedInput where a variant is not what was asked for."""
    made = [(r, o) for r, o in zip(requests, outcomes, strict=True) if isinstance(o, Variant)]
    _checked([r for r, _ in made], [o for _, o in made])
    return list(outcomes)


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


def request_for(
    task: Task, prepared: PreparedFrame, condition: Condition, recipe: Recipe
) -> Request:
    """What an engine is asked for one task; raises DamagedInput where no control can be made."""
    request = Request(
        sample_id=task.sample_id,
        image=prepared.image,
        depth_m=prepared.depth_m,
        intrinsics=prepared.intrinsics,
        T_ego_camera=prepared.T_ego_camera,
        condition=condition,
        severity=task.severity,
        seed=task.seed,
    )
    return request if recipe.diffusion is None else prompted(request, task.caption, recipe)


def _failed(task: Task, condition: Condition, error: Exception) -> Rejected:
    reason = error.reason if isinstance(error, DamagedInput) else Reason.ENGINE_ERROR
    return _rejected(task, condition, reason, error, MAX_ATTEMPTS)


def _row(
    task: Task,
    prepared: PreparedFrame,
    request: Request,
    made: Variant,
    recipe: Recipe,
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
        "engine": recipe.engine,
        "engine_version": recipe.engine_version,
        "depth_source": prepared.depth_source,
        "caption": task.caption if request.prompt else None,
        "prompt": request.prompt or None,
        "provenance": json.dumps(facts, sort_keys=True) if facts else None,
        "batch_size": int(facts.get("batch_size", recipe.batch_size)),
        "builds": library_builds(recipe.engine),
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


def _prepared_frames() -> PreparedFrames:
    if not hasattr(_of_this_thread, "prepared_frames"):
        _of_this_thread.prepared_frames = PreparedFrames()
    return _of_this_thread.prepared_frames


@functools.cache
def library_builds(engine: str) -> str:
    """Versions of what the bytes of an engine's variants depend on."""
    names = ("nightrain", "numpy", "opencv-python-headless", "simplejpeg")
    if engine == "diffusion":
        names += ("torch", "diffusers", "transformers")
    return ", ".join(f"{name} {version(name)}" for name in names)
