"""Shown files: which files of a dataset are committed and current, and what belongs to them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from nightrain.datasets.errors import CorruptShard, UnreadableFile
from nightrain.datasets.io.parsed_files import collector_paused
from nightrain.datasets.shards.manifest import FRAMES, ROW_BY_ROW, Entry, Manifest, last_attempts
from nightrain.datasets.shards.parquet import ShardFile
from nightrain.datasets.shards.recipe_records import VARIANTS, names_of_folders
from nightrain.datasets.shards.verify import lost_files
from nightrain.pipelines.inspect.current_entries import current_tables, readable_entries

VARIANT, REJECTED, FAILED, FRAME = "variant", "rejected", "failed", "frame"
KINDS = (VARIANT, REJECTED, FAILED, FRAME)


class ShownFile(NamedTuple):
    """A file with the kind of its rows, and the table that it belongs to."""

    kind: str
    table: str
    file: ShardFile


class ShownFiles(NamedTuple):
    """Files of samples in their order; two are equal if a dataset did not change."""

    files: tuple[ShownFile, ...]
    attached: dict[tuple[str, str], ShardFile]  # by table of labels or maps, and path of the frames
    recipes: dict[str, list[str]]  # names of the recipes that use a folder of variants
    problems: dict[str, str]  # by path


def shown_files(root: Path) -> ShownFiles:
    """List what is committed and current; entries that were read before are not read again.

    Raises PlanMismatch for a dataset of another schema version.
    """
    manifest, problems = Manifest(root), dict[str, str]()
    with collector_paused():
        entries = list(readable_entries(manifest, problems))
    problems |= dict(lost_files(root, entries))
    files = [one for one in _files(root, entries, problems) if one.file.path not in problems]
    try:
        recipes = names_of_folders(root)
    except (CorruptShard, UnreadableFile):  # `_files` lists the problem
        recipes = {}
    return ShownFiles(tuple(files), _attached(entries), recipes, problems)


def _files(root: Path, entries: Sequence[Entry], problems: dict[str, str]) -> list[ShownFile]:
    """Kind, table and file: variants that are not superseded, what was rejected, frames."""
    in_order = {
        table: found
        for table, found in current_tables(root, entries, problems).items()
        if table == FRAMES or table.startswith(VARIANTS)
    }
    variants = [table for table in in_order if table != FRAMES]
    return [
        *(ShownFile(VARIANT, table, entry.rows) for table in variants for entry in in_order[table]),
        *(
            ShownFile(REJECTED, table, entry.quarantine)
            for table, found in in_order.items()
            for entry in last_attempts(found)
            if entry.quarantine is not None
        ),
        *(ShownFile(FRAME, FRAMES, entry.rows) for entry in in_order.get(FRAMES, ())),
    ]


def _attached(entries: Sequence[Entry]) -> dict[tuple[str, str], ShardFile]:
    """Labels and control maps of frames files, row by row; those of other frames are left out."""
    frames = {entry.shard.stem: entry.rows for entry in entries if entry.shard.table == FRAMES}
    found = {}
    for entry in entries:
        of = frames.get(entry.shard.stem)
        is_attached = entry.shard.table.split("/")[0] in ROW_BY_ROW
        if is_attached and of is not None and entry.rows.keys_sha256 == of.keys_sha256:
            found[entry.shard.table, of.path] = entry.rows
    return found
