"""Generation plans: the shards that a recipe defines."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nightrain.datasets.conditions import Condition
from nightrain.datasets.shards.manifest import Entry, Manifest, Shard
from nightrain.pipelines.recipes.recipe import Recipe
from nightrain.pipelines.runs.selection import select_frames


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationPlan:
    """Shards to generate, and the frames that are left out."""

    shards: tuple[Shard, ...]
    num_frames: int
    num_variants: int
    skipped: dict[str, int]  # number of frames left out, by reason


def plan_generation(
    manifest: Manifest, recipe: Recipe, *, include_evaluation_scenes: bool = False
) -> GenerationPlan:
    """Plan a recipe on the committed clear frames of a dataset.

    Frames of val and test scenes are left out by default: their variants would leak into training.
    Raises InvalidRequest if no frame is left.
    """
    selection = select_frames(
        manifest,
        (Condition.CLEAR,),
        product="variants",
        include_evaluation_scenes=include_evaluation_scenes,
    )
    tables = [recipe.table(condition) for condition in recipe.conditions]
    shards = tuple(
        Shard(table=table, number=entry.shard.number)
        for entry in selection.kept
        for table in tables
    )
    num_frames = selection.num_frames
    num_variants = num_frames * len(recipe.conditions) * recipe.variants_per_frame
    return GenerationPlan(
        shards=shards, num_frames=num_frames, num_variants=num_variants, skipped=selection.skipped
    )


def committed_variants(manifest: Manifest, plan: GenerationPlan) -> tuple[int, int]:
    """Number of committed shards of a plan, and of their variants, with those in quarantine."""
    entries = manifest.committed(plan.shards)
    return len(entries), sum(e.rows.num_rows + sum(e.counts.values()) for e in entries)


def plan_retry(manifest: Manifest, shards: Sequence[Shard]) -> list[Shard]:
    """Return the next retry of each shard that has quarantined rows in its latest attempt."""
    return [
        entry.shard.model_copy(update={"retry": entry.shard.retry + 1})
        for entry in _latest_attempts(manifest, shards)
        if entry.quarantine is not None
    ]


def num_to_retry(manifest: Manifest, shards: Sequence[Shard]) -> int:
    """Number of quarantined rows in the latest attempts of shards."""
    return sum(sum(entry.counts.values()) for entry in _latest_attempts(manifest, shards))


def _latest_attempts(manifest: Manifest, shards: Sequence[Shard]) -> Iterator[Entry]:
    """Yield the entry of the latest attempt of each shard that is committed."""
    latest = {
        (entry.shard.table, entry.shard.number): entry
        for table in dict.fromkeys(shard.table for shard in shards)
        for entry in manifest.entries(table)  # ordered by attempt
    }
    found = (latest.get((shard.table, shard.number)) for shard in shards)
    return (entry for entry in found if entry is not None)
