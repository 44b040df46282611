"""Difference of two recipes: settings that differ, and the conditions that they cost."""

from collections.abc import Iterator, Set
from typing import Any

from pydantic import BaseModel

from nightrain.datasets.conditions import Condition
from nightrain.pipelines.recipes.recipe import LABELS, SET_ON_LOAD, Recipe
from nightrain.pipelines.recipes.recipe_text import settings


class SettingChange(BaseModel):
    """A setting that differs; None: it is not there."""

    setting: str  # "engine.steps"
    before: Any = None
    after: Any = None


class RecipeDiff(BaseModel):
    """What a change from one recipe to another means for the variants of a dataset."""

    changes: list[SettingChange]
    generated: list[Condition]  # with other settings, or new: their variants are to be generated
    kept: list[Condition]  # with equal settings: their variants are shared
    dropped: list[Condition]  # only in the first recipe


def recipe_diff(before: Recipe, after: Recipe) -> RecipeDiff:
    """Compare two recipes, whatever they are called."""
    common = before.conditions.keys() & after.conditions.keys()
    old, new = dict(_flat(before, common)), dict(_flat(after, common))
    return RecipeDiff(
        changes=[
            SettingChange(setting=name, before=old.get(name), after=new.get(name))
            for name in dict.fromkeys((*old, *new))
            if old.get(name) != new.get(name)
        ],
        generated=[c for c in after.conditions if after.table(c) not in before.tables],
        kept=[c for c in after.conditions if after.table(c) in before.tables],
        dropped=[c for c in before.conditions if c not in after.conditions],
    )


def _flat(recipe: Recipe, conditions: Set[Condition]) -> Iterator[tuple[str, Any]]:
    """Settings and versions by dotted name, without labels and other conditions."""
    versions = recipe.model_dump(mode="json", include={*SET_ON_LOAD})
    for name, value in (settings(recipe) | versions).items():
        if name in ("conditions", "engine_versions"):
            yield from _leaves(name, {c: v for c, v in value.items() if c in conditions})
        elif name not in LABELS:
            yield from _leaves(name, value)


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(f"{name}.{key}", inner)
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        for index, inner in enumerate(value):
            yield from _leaves(f"{name}.{index}", inner)
    else:
        yield name, value
