"""Recipe records: which tables of variants belong to a recipe's name, and which are superseded.

    DATASET/_manifest/recipes/<name>/NNNNN.pinned    tables of the recipe, and their settings

A table of variants holds one condition, and its folder is named by the hash of its settings, so
recipes with equal settings share it. `generate` adds a record when the tables of a name change. The
last record of a name is the current one; a table of earlier records alone is superseded.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.regular import matching
from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.shards.pinned import ENDING, pin, read_pinned

RECIPES = "recipes"
VARIANTS = "variants/"
HASH = re.compile(r"[0-9a-f]{6,16}")
NUM_HASH_DIGITS = 8  # in the name of a folder


@dataclass(frozen=True, slots=True)
class RecipeRecord:
    """Tables of a recipe at one time, each with the settings of its variants as JSON."""

    name: str
    number: int
    settings: Mapping[str, str]  # by table: {"variants/weather-1a2b3c4d/night": "{...}"}

    @property
    def tables(self) -> dict[str, str]:
        """Table of each condition."""
        return {condition_of(table): table for table in self.settings}


@dataclass(frozen=True, slots=True)
class Superseded:
    """A table that no recipe uses any more."""

    table: str
    recipe: str
    successor: str | None  # table of the same condition; None if the recipe dropped the condition


def condition_of(table: str) -> str:
    """Condition of a table of variants: its last part."""
    return table.rpartition("/")[2]


def folder_of(table: str) -> str:
    """Folder of a table of variants: "weather-1a2b3c4d"."""
    return table.removeprefix(VARIANTS).partition("/")[0]


def record_recipe(root: Path, name: str, settings: Mapping[str, str]) -> list[Superseded]:
    """Make these tables the current ones of a name; return those that they supersede.

    Nothing is written if they are current already. Of several processes, each adds its record once.
    Raises CorruptShard, DiskFull.
    """
    while True:
        records = _records_of(root, name)
        if records and dict(records[-1].settings) == dict(settings):
            return []
        number = records[-1].number + 1 if records else 0
        if pin(root, f"{RECIPES}/{name}/{number:05d}", settings) == dict(settings):
            before = records[-1].settings if records else {}
            return [s for s in superseded_tables(root) if s.table in before]


def recipe_records(root: Path) -> dict[str, list[RecipeRecord]]:
    """Records of all recipes by name, in order; raises CorruptShard."""
    names = sorted(path.name for path in matching(Path(root) / "_manifest" / RECIPES, "*"))
    return {name: records for name in names if (records := _records_of(root, name))}


def superseded_tables(root: Path) -> list[Superseded]:
    """Tables of earlier records that no recipe uses any more; raises CorruptShard."""
    records = recipe_records(root)
    current = {table for of_name in records.values() for table in of_name[-1].settings}
    found: dict[str, Superseded] = {}
    for name, of_name in records.items():
        successors = of_name[-1].tables
        for table in (t for record in of_name for t in record.settings if t not in current):
            found[table] = Superseded(table, name, successors.get(condition_of(table)))
    return list(found.values())


def names_of_folders(root: Path) -> dict[str, list[str]]:
    """Recipes that use each folder of variants today, by folder; raises CorruptShard."""
    found: dict[str, list[str]] = {}
    for name, of_name in recipe_records(root).items():
        for folder in sorted({folder_of(table) for table in of_name[-1].settings}):
            found.setdefault(folder, []).append(name)
    return found


def select_tables(manifest: Manifest, wanted: str) -> list[str]:
    """Committed tables of variants by a recipe's name, a folder, or a hash of 6 digits or more.

    A name stands for the recipe's current tables. Raises InvalidRequest where nothing matches, or
    more than one thing; CorruptShard.
    """
    committed, records = manifest.tables(VARIANTS), recipe_records(manifest.root)
    folders = {folder_of(table) for table in committed}
    found = {f: [t for t in committed if folder_of(t) == f] for f in _matching(folders, wanted)}
    if wanted in records:
        of_recipe = [t for t in records[wanted][-1].settings if t in committed]
        found = {f"recipe {wanted}": of_recipe} | found if of_recipe else found
    if len({tuple(tables) for tables in found.values()}) == 1:
        return next(iter(found.values()))
    what = f"{len(found)} sets of variants" if found else "no variants"
    raise InvalidRequest(
        f"{manifest.root} has {what} called {wanted!r}"
        f"{': ' if found else ''}{', '.join(sorted(found))}. Recipes: "
        f"{', '.join(records) or 'none'}; folders: {', '.join(sorted(folders)) or 'none'}. "
        "Give one of these names, or run `nightrain generate` to add variants."
    )


def _matching(folders: Iterable[str], wanted: str) -> list[str]:
    """Folders that a folder's name or the first digits of a hash match."""
    short = wanted[:NUM_HASH_DIGITS] if HASH.fullmatch(wanted) else None
    return sorted(f for f in folders if f == wanted or (short and _hash(f).startswith(short)))


def _hash(folder: str) -> str:
    return folder.rpartition("-")[2]


def _records_of(root: Path, name: str) -> list[RecipeRecord]:
    folder = Path(root) / "_manifest" / RECIPES / name
    paths = matching(folder, f"{5 * '[0-9]'}{ENDING}")
    return [RecipeRecord(name, int(p.name.partition(".")[0]), read_pinned(root, p)) for p in paths]
