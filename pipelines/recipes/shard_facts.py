"""Facts about a shard of variants, for its manifest entry and its Parquet metadata."""

from nightrain.datasets.conditions import Condition
from nightrain.datasets.shards.manifest import Entry
from nightrain.datasets.splits import NO_SPLIT
from nightrain.pipelines.recipes.recipe import Recipe


def shard_facts(recipe: Recipe, condition: Condition, frames: Entry) -> dict[str, str]:
    """Return the recipe of one condition's variants, and the frames that they are made from."""
    return {
        "recipe": recipe.folder_of(condition),
        "recipe_hash": recipe.hash_of(condition),
        "recipe_json": recipe.settings_of(condition),
        "condition": str(condition),
        "split": frames.about.get("split", NO_SPLIT),
        "frames_sha256": frames.rows.keys_sha256,
    }
