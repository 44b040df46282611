"""Generation plans: the shards that a recipe defines."""

from collections.abc import Sequence
from dataclasses import dataclass

from nightrain.datasets.conditions import Condition
from nightrain.datasets.shards.manifest import Manifest, Shard
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
    shards = tuple(
        Shard(table=recipe.table(condition), number=entry.shard.number)
        for entry in selection.kept
        for condition in recipe.conditions
    )
    num_frames = selection.num_frames
    num_variants = num_frames * len(recipe.conditions) * recipe.variants_per_frame
    return GenerationPlan(
        shards=shards, num_frames=num_frames, num_variants=num_variants, skipped=selection.skipped
    )


def plan_retry(manifest: Manifest, shards: Sequence[Shard]) -> list[Shard]:
    """Return the next retry of each shard that has quarantined rows in its latest attempt."""
    latest = {
        (entry.shard.table, entry.shard.number): entry
        for table in dict.fromkeys(shard.table for shard in shards)
        for entry in manifest.entries(table)  # ordered by attempt
    }
    retries = []
    for shard in shards:
        entry = latest.get((shard.table, shard.number))
        if entry is not None and entry.quarantine is not None:
            retries.append(entry.shard.model_copy(update={"retry": entry.shard.retry + 1}))
    return retries
