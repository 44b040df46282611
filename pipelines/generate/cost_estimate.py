"""Cost estimate of a recipe: time and disk space, measured on a few discarded variants.

Nothing is measured if no variant is left to generate.
"""

import time
from pathlib import Path

from pydantic import BaseModel

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.atomic import free_bytes
from nightrain.datasets.shards.manifest import FRAMES, Manifest
from nightrain.datasets.shards.rows import GENERATION_COLUMNS
from nightrain.datasets.shards.transaction import Rejected
from nightrain.pipelines.generate.batch import generate_batch
from nightrain.pipelines.generate.conditioning import read_captions_of
from nightrain.pipelines.generate.plan import TableLeft, plan_generation, variants_left
from nightrain.pipelines.generate.preflight import require_depth
from nightrain.pipelines.generate.requests import plan_requests
from nightrain.pipelines.inspect.stats import sample
from nightrain.pipelines.recipes.recipe import Recipe

MEASURED_FRAMES = 4


class Estimate(BaseModel):
    """Remaining variants of a recipe, and their cost on this machine."""

    recipe: str
    recipe_hash: str
    num_frames: int
    num_variants: int
    num_shards: int
    num_shards_committed: int
    num_variants_left: int
    conditions: dict[Condition, TableLeft]
    num_workers: int
    seconds_per_variant: float | None  # of one worker; None if nothing is left to generate
    bytes_per_variant: float | None
    hours: float  # with `num_workers`, each as fast as one alone
    gigabytes: float
    free_gigabytes: float
    skipped: dict[str, int]


def estimate(
    root: Path, recipe: Recipe, *, include_evaluation_scenes: bool = False, num_workers: int = 1
) -> Estimate:
    """Plan a recipe and time a few of its variants; nothing is written. Raises InvalidRequest."""
    manifest = Manifest(root)
    plan = plan_generation(manifest, recipe, include_evaluation_scenes=include_evaluation_scenes)
    tables = variants_left(manifest, plan)
    left = sum(table.num_variants_left for table in tables.values())
    num_shards_left = sum(table.num_shards_left for table in tables.values())
    seconds, num_bytes = _measure(manifest, recipe) if left else (None, None)
    return Estimate(
        recipe=recipe.name,
        recipe_hash=recipe.hash,
        num_frames=plan.num_frames,
        num_variants=plan.num_variants,
        num_shards=len(plan.num_rows),
        num_shards_committed=len(plan.num_rows) - num_shards_left,
        num_variants_left=left,
        conditions={c: tables[recipe.table(c)] for c in recipe.conditions},
        num_workers=num_workers,
        seconds_per_variant=seconds,
        bytes_per_variant=num_bytes,
        hours=left * (seconds or 0.0) / 3600 / num_workers,
        gigabytes=left * (num_bytes or 0.0) / 1e9,
        free_gigabytes=free_bytes(root) / 1e9,
        skipped=plan.skipped,
    )


def _measure(manifest: Manifest, recipe: Recipe) -> tuple[float, float]:
    """Return (seconds, bytes) per variant, over a few frames and every condition."""
    frames = manifest.entries(FRAMES)
    require_depth(manifest, recipe, frames)
    rows = sample(manifest, frames, MEASURED_FRAMES, GENERATION_COLUMNS)
    captions = read_captions_of(manifest, frames, recipe)
    variants, seconds = [], 0.0
    for warm in (False, True):  # the first round loads libraries and is not counted
        for condition in recipe.conditions:
            planned = list(plan_requests(rows if warm else rows[:1], recipe, condition, captions))
            started = time.perf_counter()
            results = generate_batch(planned, {}, recipe, condition)
            if warm:
                seconds += time.perf_counter() - started
                variants += [r for r in results if not isinstance(r, Rejected)]
    if not variants:
        raise InvalidRequest(
            "None of the variants of a few sample frames could be generated. Run "
            "`nightrain preview` with this recipe to see why."
        )
    return seconds / len(variants), sum(len(r["image"]["bytes"]) for r in variants) / len(variants)
