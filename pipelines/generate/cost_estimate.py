"""Cost estimate of a recipe: time, disk space and price, measured on a few discarded variants.

Nothing is measured if no variant is left to generate.
"""

import time
from pathlib import Path
from typing import NamedTuple

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
from nightrain.pipelines.runs.history.run_record import read_runs

MEASURED_FRAMES = 4


class PastRuns(BaseModel):
    """What earlier runs took for variants of the same tables, on whatever machines they were."""

    num_runs: int
    num_variants: int  # committed or quarantined
    seconds_per_variant: float  # of one worker, loading of models included
    bytes_per_variant: float  # committed; 0 if all are in quarantine


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
    device: str  # that was measured: a GPU's name, or "cpu"; "" if nothing was
    device_hours: float  # of all devices, or workers on the CPU, together
    hours: float  # with `num_workers`, each as fast as one alone
    price: float | None  # of `device_hours`, in the currency of the price per hour
    gigabytes: float
    free_gigabytes: float
    past: PastRuns | None = None
    skipped: dict[str, int]


class VariantCost(NamedTuple):
    """What a variant costs one worker."""

    seconds: float
    num_bytes: float
    device: str


NOTHING = VariantCost(0.0, 0.0, "")


def estimate(
    root: Path,
    recipe: Recipe,
    *,
    include_evaluation_scenes: bool = False,
    num_workers: int = 1,
    price_per_hour: float | None = None,
) -> Estimate:
    """Plan a recipe and time a few of its variants; nothing is written. Raises InvalidRequest."""
    manifest = Manifest(root)
    plan = plan_generation(manifest, recipe, include_evaluation_scenes=include_evaluation_scenes)
    tables = variants_left(manifest, plan)
    left = sum(table.num_variants_left for table in tables.values())
    num_shards_left = sum(table.num_shards_left for table in tables.values())
    measured = _measure(manifest, recipe) if left else NOTHING
    device_hours = left * measured.seconds / 3600
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
        seconds_per_variant=measured.seconds if left else None,
        bytes_per_variant=measured.num_bytes if left else None,
        device=measured.device,
        device_hours=device_hours,
        hours=device_hours / num_workers,
        price=None if price_per_hour is None else device_hours * price_per_hour,
        gigabytes=left * measured.num_bytes / 1e9,
        free_gigabytes=free_bytes(root) / 1e9,
        past=past_runs(root, recipe),
        skipped=plan.skipped,
    )


def past_runs(root: Path, recipe: Recipe) -> PastRuns | None:
    """Sum up the recorded generations of a recipe's tables; None if there are none."""
    runs = [run for run in read_runs(root).runs.values() if run.command == "generate"]
    found = [[made for table, made in run.tables.items() if table in recipe.tables] for run in runs]
    tables = [made for of_run in found for made in of_run]
    num_rows = sum(made.num_rows for made in tables)
    num_variants = num_rows + sum(sum(made.quarantined.values()) for made in tables)
    if not num_variants:
        return None
    return PastRuns(
        num_runs=sum(1 for of_run in found if of_run),
        num_variants=num_variants,
        seconds_per_variant=sum(made.seconds for made in tables) / num_variants,
        bytes_per_variant=sum(made.num_bytes for made in tables) / max(1, num_rows),
    )


def _measure(manifest: Manifest, recipe: Recipe) -> VariantCost:
    """Measure a few frames under every condition."""
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
    num_bytes = sum(len(row["image"]["bytes"]) for row in variants)
    return VariantCost(seconds / len(variants), num_bytes / len(variants), variants[0]["device"])
