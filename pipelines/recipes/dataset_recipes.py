"""Recipes of a dataset: their tables of variants, and the settings that it records."""

from pathlib import Path

from pydantic import BaseModel

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.shards.recipe_records import (
    VARIANTS,
    RecipeRecord,
    condition_of,
    folder_of,
    recipe_records,
    select_tables,
    superseded_tables,
)
from nightrain.pipelines.recipes.recipe import Recipe


class VariantTable(BaseModel):
    """Committed variants of one condition with one set of settings."""

    condition: str
    folder: str  # "weather-1a2b3c4d"
    recipes: list[str]  # that use it now
    superseded: bool
    successor: str | None = None  # folder of the variants that replace superseded ones
    num_shards: int
    num_variants: int
    num_quarantined: int


def variant_tables(root: Path) -> list[VariantTable]:
    """Describe all tables of variants, those of a recipe first; raises CorruptShard."""
    manifest, records = Manifest(root), recipe_records(root)
    users = {name: of_name[-1].settings for name, of_name in records.items()}
    old = {found.table: found for found in superseded_tables(root)}
    named = [table for tables in users.values() for table in tables]
    found = []
    for table in dict.fromkeys((*named, *manifest.tables(VARIANTS))):
        entries = manifest.entries(table)
        successor = old[table].successor if table in old else None
        found.append(
            VariantTable(
                condition=condition_of(table),
                folder=folder_of(table),
                recipes=[name for name, tables in users.items() if table in tables],
                superseded=table in old,
                successor=folder_of(successor) if successor else None,
                num_shards=len(entries),
                num_variants=sum(entry.rows.num_rows for entry in entries),
                num_quarantined=sum(sum(entry.counts.values()) for entry in entries),
            )
        )
    return found


def recorded_recipe(root: Path, wanted: str) -> Recipe:
    """Recipe that a dataset records: by name, or one condition by folder or hash.

    Raises InvalidRequest where nothing matches, or more than one thing; CorruptShard.
    """
    manifest, records = Manifest(root), recipe_records(root)
    if wanted in records:
        return _merged(records[wanted][-1]).for_dataset(root)
    (table, *more) = select_tables(manifest, wanted)
    if more:
        raise InvalidRequest(f"{wanted!r} stands for several conditions: give a longer hash.")
    settings = manifest.entries(table)[0].about.get("recipe_json", "{}")
    recipe = Recipe.from_settings(settings).for_dataset(root)
    return recipe.model_copy(update={"name": folder_of(table)})


def _merged(record: RecipeRecord) -> Recipe:
    """Recipe of all conditions of a record, which agree in everything else."""
    parts = [Recipe.from_settings(text) for text in record.settings.values()]
    update = {
        "name": record.name,
        "conditions": {c: r for part in parts for c, r in part.conditions.items()},
        "engine_versions": {c: v for part in parts for c, v in part.engine_versions.items()},
    }
    return parts[0].model_copy(update=update)
