"""Sources of a regating: the tables whose variants differ from a recipe's in their gates alone."""

import json
from typing import Any, NamedTuple

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.shards.manifest import Entry, Manifest
from nightrain.datasets.shards.recipe_records import recipe_records
from nightrain.pipelines.recipes.recipe import Recipe

OF_GATES = ("gates", "gate_versions", "gate_seeds", "gates_inverted")  # settings that may differ


class Source(NamedTuple):
    """A table to take variants from, and that of the recipe to write them to."""

    table: str
    target: str


def find_sources(manifest: Manifest, recipe: Recipe) -> dict[Condition, Source]:
    """Return the table to regate of each condition; none for one whose gates are the same.

    Of several tables with the scores of the recipe's gates, the one that the recipe's name stands
    for is used, or else the one committed last. Raises InvalidRequest where no table of a condition
    has the scores; it says what is missing.
    """
    if not recipe.gates:
        raise InvalidRequest(
            f"recipe {recipe.name!r} has no gates, so there is nothing to judge by. Add `gates:` "
            "to it, or generate it."
        )
    found: dict[Condition, Source] = {}
    records = recipe_records(manifest.root).get(recipe.name)
    current = records[-1].settings if records else {}
    for condition in recipe.conditions:
        target, alike = recipe.table(condition), _alike(manifest, recipe, condition)
        if target in alike and len(alike) == 1:
            continue
        alike.pop(target, None)
        usable = {t: entries for t, entries in alike.items() if not _missing(recipe, entries[0])}
        if not usable:
            raise InvalidRequest(_why_none(manifest, recipe, condition, alike))
        own = [table for table in usable if table in current]
        chosen = max(own or usable, key=lambda table: max(e.created_at for e in usable[table]))
        found[condition] = Source(chosen, target)
    return found


def _alike(manifest: Manifest, recipe: Recipe, condition: Condition) -> dict[str, list[Entry]]:
    """Entries of the tables of a condition with the recipe's settings, those of gates aside."""
    wanted, found = _without_gates(recipe.settings_of(condition)), dict[str, list[Entry]]()
    for table in manifest.tables("variants"):
        entries = manifest.entries(table)
        if not table.endswith(f"/{condition}") or not entries:
            continue
        if _without_gates(entries[0].about.get("recipe_json", "{}")) == wanted:
            found[table] = entries
    return found


def _without_gates(settings: str) -> dict[str, Any]:
    return {name: value for name, value in json.loads(settings).items() if name not in OF_GATES}


def _missing(recipe: Recipe, entry: Entry) -> list[str]:
    """Gates of the recipe, with their versions, whose scores a table has not."""
    settings = json.loads(entry.about["recipe_json"])
    names = [gate if isinstance(gate, str) else gate["name"] for gate in settings.get("gates", ())]
    known = set(zip(names, settings.get("gate_versions", ()), strict=True))
    return [
        f"{gate.name} {version}"
        for gate, version in zip(recipe.gates, recipe.gate_versions, strict=True)
        if not gate.judges_all and (gate.name, version) not in known
    ]


def _why_none(
    manifest: Manifest, recipe: Recipe, condition: Condition, alike: dict[str, list[Entry]]
) -> str:
    if not alike:
        return (
            f"{manifest.root} has no {condition} variants with the settings of recipe "
            f"{recipe.name!r}, gates aside. Run `nightrain generate` with it."
        )
    table, entries = next(iter(alike.items()))
    return (
        f"{table} has no scores of {', '.join(_missing(recipe, entries[0]))}, which recipe "
        f"{recipe.name!r} needs: its variants were not measured by these gates, or by other "
        "versions of them. Run `nightrain generate` with the recipe."
    )
