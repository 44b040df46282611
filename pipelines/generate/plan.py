"""Generation plans: the shards that a recipe asks for."""

from collections.abc import Sequence
from dataclasses import dataclass

from nightrain.datasets.conditions import Condition
from nightrain.datasets.shards.manifest import Manifest, Shard
from nightrain.pipelines.recipes.recipe import Recipe
from nightrain.pipelines.runs.selection import select_frames


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationPlan:
    """The shards to make, and what was left out on purpose."""

    shards: tuple[Shard, ...]
    num_frames: int
    num_variants: int
    skipped: dict[str, int]  # frames left out, by the reason in words


def plan_generation(
    manifest: Manifest, recipe: Recipe, *, include_evaluation_scenes: bool = False
) -> GenerationPlan:
    """Plan a recipe on the committed clear frames of a dataset.

    Frames of validation and test scenes are left out unless asked for in words: what is generated
    from them would leak into training. Raises InvalidRequest where nothing is left.
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
    """The next retry of every planned shard whose last attempt left rows in quarantine."""
    last_attempts = {
        (entry.shard.table, entry.shard.number): entry
        for table in dict.fromkeys(shard.table for shard in shards)
        for entry in manifest.entries(table)  # in the order of their attempts
    }
    retries = []
    for shard in shards:
        last = last_attempts.get((shard.table, shard.number))
        if last is not None and last.quarantine is not None:
            retries.append(last.shard.model_copy(update={"retry": last.shard.retry + 1}))
    return retries
