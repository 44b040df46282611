"""Upgrade of a dataset to today's schema version, shard by shard.

The files of a shard are written again under spare names, then its manifest entry is replaced, then
the old files are removed. An interrupted upgrade continues where it stopped; until it has ended,
other commands refuse the dataset.
"""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ValidationError

from nightrain.datasets.errors import CorruptShard
from nightrain.datasets.io.atomic import replace_file, require_free, require_writable
from nightrain.datasets.io.record import record_bytes
from nightrain.datasets.io.regular import files_below, matching, read_regular
from nightrain.datasets.shards.frame_plan import FramePlan
from nightrain.datasets.shards.manifest import (
    FRAMES,
    ROW_BY_ROW,
    Entry,
    Manifest,
    Shard,
    quarantine_table,
)
from nightrain.datasets.shards.parquet import ShardFile
from nightrain.datasets.shards.recipe_records import (
    VARIANTS,
    folder_of,
    recipe_records,
    record_recipe,
)
from nightrain.datasets.shards.schema import SCHEMA_VERSION
from nightrain.datasets.upkeep.changes import (
    files_of,
    leased,
    remove_files,
    replace_entry,
    require_idle,
)
from nightrain.datasets.upkeep.migrations import SCHEMAS, kind_of_table, migrate

UPGRADED_FROM = "upgraded_from"  # in `about`: digests that a file had in earlier schema versions
FRAMES_FILE = "frames_file_sha256"  # in the `about` of labels and control maps

Progress = Callable[[int, int], None]


class UpgradeReport(BaseModel):
    """Outcome of an upgrade."""

    version: int = SCHEMA_VERSION
    upgraded: dict[int, int] = {}  # shards by the version that they had
    num_current: int = 0  # shards that had today's version
    num_plans: int = 0  # plans of frames brought to today's format
    recipes: list[str] = []  # names of recipes whose tables were recorded


def upgrade(root: Path, progress: Progress | None = None) -> UpgradeReport:
    """Bring every shard of a dataset to today's schema version.

    Raises InvalidRequest while another process makes shards, PlanMismatch for a newer version,
    CorruptShard for damaged files, DiskFull.
    """
    require_idle(root)
    manifest = Manifest(root)
    paths = list(files_below(root / "_manifest", ".json"))
    entries = [manifest.parse_entry(path) for path in paths]
    old = [entry for entry in entries if entry.schema_version != SCHEMA_VERSION]
    # Frames first: labels name the digest of their frames' file.
    old.sort(key=lambda e: (e.shard.table != FRAMES, e.shard.table, e.shard.number, e.shard.retry))
    if old:
        require_writable(root)
    report = UpgradeReport(num_current=len(entries) - len(old))
    report.upgraded = dict(sorted(Counter(entry.schema_version for entry in old).items()))
    report.num_plans = _upgrade_plans(root)
    report.recipes = _record_recipes(root, entries)  # while other commands refuse the dataset
    for number, entry in enumerate(old):
        require_free(root, 2 * sum(f.num_bytes for f in _files(entry).values()))
        with leased(manifest, entry.shard):
            _upgrade_shard(manifest, entry)
        if progress is not None:
            progress(number + 1, len(old))
    manifest.sweep()
    return report


def _upgrade_shard(manifest: Manifest, entry: Entry) -> None:
    about = dict(entry.about)
    if entry.shard.table == FRAMES:
        about[UPGRADED_FROM] = f"{about.get(UPGRADED_FROM, '')} {entry.rows.sha256}".strip()
    elif kind_of_table(entry.shard.table) in ROW_BY_ROW and FRAMES_FILE in about:
        about[FRAMES_FILE] = _today(manifest, entry.shard, about[FRAMES_FILE])
    new = {
        table: _rewrite(manifest, entry, table, file, about)
        for table, file in _files(entry).items()
    }
    upgraded = entry.model_copy(
        update={
            "rows": new[entry.shard.table],
            "quarantine": new.get(quarantine_table(entry.shard.table)),
            "about": about,
            "schema_version": SCHEMA_VERSION,
        }
    )
    replace_entry(manifest, upgraded)
    remove_files(manifest.root, set(files_of(entry)) - set(files_of(upgraded)))


def _rewrite(
    manifest: Manifest, entry: Entry, table: str, file: ShardFile, about: dict[str, str]
) -> ShardFile:
    """Write the rows of a file again with today's columns; raises CorruptShard."""
    reader = manifest.reader(file)
    with manifest.writer(table, SCHEMAS[kind_of_table(table)], about) as writer:
        for group in range(len(file.row_groups)):
            rows = migrate(table, reader.group(group), entry.schema_version)
            for row in rows.to_pylist():
                writer.add(row)
        writer.close()
        return manifest.place(table, entry.shard, writer)


def _today(manifest: Manifest, labels: Shard, frames_file: str) -> str:
    """Digest that a file of frames has now, given one that it had before."""
    frames = manifest.entry(labels.model_copy(update={"table": FRAMES}))
    before = "" if frames is None else frames.about.get(UPGRADED_FROM, "")
    return frames.rows.sha256 if frames and frames_file in before.split() else frames_file


def _files(entry: Entry) -> dict[str, ShardFile]:
    """Files of a shard by the table that each belongs to."""
    files = {entry.shard.table: entry.rows}
    if entry.quarantine is not None:
        files[quarantine_table(entry.shard.table)] = entry.quarantine
    return files


def _upgrade_plans(root: Path) -> int:
    """Give plans of frames that were plain JSON their digest; raises CorruptShard."""
    num_upgraded = 0
    for path in matching(root / "_plan", "*.json"):
        try:
            fields = json.loads(read_regular(path))
            if "plan" not in fields:
                fields["retry"] = fields["options"].pop("retry", "no") == "yes"  # was an option
                plan = FramePlan.model_validate(fields).model_dump(mode="json")
                replace_file(root, path, record_bytes("plan", plan))
                num_upgraded += 1
        except (ValueError, KeyError, TypeError, RecursionError, ValidationError) as error:
            raise CorruptShard(f"{path} is not a valid plan of frames: {error}") from error
    return num_upgraded


def _record_recipes(root: Path, entries: list[Entry]) -> list[str]:
    """Record the tables of recipes from before there were records; return the recipes' names.

    A folder then held all conditions of a recipe. The oldest is recorded first, so that the latest
    is the current one; a name that `generate` has recorded since is left as it is.
    """
    folders: dict[tuple[str, str], dict[str, str]] = {}
    for entry in sorted(entries, key=lambda e: e.created_at):
        table, about = entry.shard.table, entry.about
        if table.startswith(VARIANTS) and about.get("recipe", "") not in ("", folder_of(table)):
            folder = folders.setdefault((about["recipe"], folder_of(table)), {})
            folder[table] = about.get("recipe_json", "")
    wanted: dict[str, list[dict[str, str]]] = {}
    for (name, _), settings in folders.items():
        wanted.setdefault(name, []).append(settings)
    recorded, before = [], recipe_records(root)
    for name, of_name in wanted.items():
        done = [dict(record.settings) for record in before.get(name, [])]
        if done == of_name[: len(done)] and len(done) < len(of_name):
            recorded.append(name)
            for settings in of_name[len(done) :]:
                record_recipe(root, name, settings)
    return recorded
