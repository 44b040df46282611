"""Files to group: those of the current tables, with the recipe, engine and bytes of their rows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from nightrain.datasets.errors import CorruptShard, UnreadableFile
from nightrain.datasets.protocols.leakage import scenes_of
from nightrain.datasets.shards.manifest import FRAMES, LABELS, Entry, Manifest, last_attempts
from nightrain.datasets.shards.parquet import ShardFile
from nightrain.datasets.shards.recipe_records import VARIANTS, folder_of, recipe_records
from nightrain.datasets.shards.verify import lost_files
from nightrain.pipelines.inspect.current_entries import (
    Problems,
    current_tables,
    readable_entries,
)
from nightrain.pipelines.inspect.groups.keys import OF_LOGS, GroupKey
from nightrain.pipelines.inspect.groups.places import place_of

FACTS = pa.schema(
    [
        *((name, pa.string()) for name in ("filename", "of_recipe", "of_engine")),
        ("row_bytes", pa.float64()),  # a shard's bytes, in equal parts
    ]
)
SCENES = pa.schema(
    [(name, pa.string()) for name in ("source_dataset", "scene_id", "log", "location", "zone")]
)


class GroupFiles(NamedTuple):
    """Files by kind of rows, and what is known of each file (FACTS) and scene (SCENES)."""

    frames: list[ShardFile]
    variants: list[ShardFile]
    labels: list[ShardFile]
    quarantine: list[ShardFile]  # of frames and variants, of each shard's last attempt
    facts: pa.Table
    scenes: pa.Table


def group_files(root: Path, by: tuple[GroupKey, ...], problems: Problems) -> GroupFiles:
    """Find the files of a dataset; what is not in its place is added to `problems`.

    Raises PlanMismatch for a dataset of another schema version.
    """
    manifest = Manifest(root)
    entries = list(readable_entries(manifest, problems))
    problems |= dict(lost_files(root, entries))
    tables = current_tables(root, entries, problems)
    frames = {FRAMES: tables.get(FRAMES, [])}
    variants = {table: found for table, found in tables.items() if table.startswith(VARIANTS)}
    labels = {table: found for table, found in tables.items() if table.startswith(f"{LABELS}/")}
    needs_logs = any(key in OF_LOGS for key in by)
    return GroupFiles(
        frames=_rows(frames),
        variants=_rows(variants),
        labels=_rows(labels),
        quarantine=[file for _, file in _quarantine({**frames, **variants})],
        facts=_facts(root, {**frames, **variants}, problems),
        scenes=_scenes(manifest, frames[FRAMES] if needs_logs else (), problems),
    )


def _rows(tables: Mapping[str, Sequence[Entry]]) -> list[ShardFile]:
    return [entry.rows for entries in tables.values() for entry in entries]


def _quarantine(tables: Mapping[str, Sequence[Entry]]) -> Iterator[tuple[str, ShardFile]]:
    for table, entries in tables.items():
        for entry in last_attempts(entries):
            if entry.quarantine is not None:
                yield table, entry.quarantine


def _facts(root: Path, tables: Mapping[str, Sequence[Entry]], problems: Problems) -> pa.Table:
    recipes = _recipes(root, problems)
    files = [(table, entry.rows) for table, entries in tables.items() for entry in entries]
    rows = [
        {
            "filename": str(root.absolute() / file.path),
            "of_recipe": recipes.get(table, folder_of(table)) if table != FRAMES else None,
            "of_engine": folder_of(table).rpartition("-")[0] if table != FRAMES else None,
            "row_bytes": file.num_bytes / max(1, file.num_rows),
        }
        for table, file in (*files, *_quarantine(tables))
    ]
    return pa.Table.from_pylist(rows, schema=FACTS)


def _recipes(root: Path, problems: Problems) -> dict[str, str]:
    """Names of the recipes that use each table, several joined by a comma."""
    try:
        records = recipe_records(root)
    except (CorruptShard, UnreadableFile) as error:
        problems["_manifest/recipes"] = str(error)
        return {}
    names: dict[str, list[str]] = {}
    for name, of_name in records.items():
        for table in of_name[-1].settings:
            names.setdefault(table, []).append(name)
    return {table: ", ".join(found) for table, found in names.items()}


def _scenes(manifest: Manifest, frames: Iterable[Entry], problems: Problems) -> pa.Table:
    """Log, place and time zone of each scene."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for entry in frames:
        if entry.rows.path in problems:
            continue
        try:
            for scene in scenes_of(manifest, entry):
                name, zone = place_of(scene.source, scene.drive)
                rows[scene.source, scene.scene_id] = {
                    "source_dataset": scene.source,
                    "scene_id": scene.scene_id,
                    "log": scene.drive,
                    "location": name,
                    "zone": zone,
                }
        except (CorruptShard, UnreadableFile) as error:
            problems[entry.rows.path] = str(error)
    return pa.Table.from_pylist(list(rows.values()), schema=SCENES)
