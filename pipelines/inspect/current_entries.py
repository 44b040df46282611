"""Current entries: what a dataset holds without its superseded tables, as far as it can be read.

An entry that cannot be read is listed with its problem, and the rest is kept.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from nightrain.datasets.errors import CorruptShard, UnreadableFile
from nightrain.datasets.io.regular import files_below
from nightrain.datasets.shards.manifest import Entry, Manifest
from nightrain.datasets.shards.recipe_records import superseded_tables

Problems = dict[str, str]  # by path, relative to the dataset's root


def readable_entries(manifest: Manifest, problems: Problems) -> Iterator[Entry]:
    """Yield the entries that can be read, and add the others to `problems`; raises PlanMismatch."""

    def add(folder: Path, error: UnreadableFile) -> None:
        problems[str(folder.relative_to(manifest.root))] = str(error)

    for path in sorted(files_below(manifest.root / "_manifest", ".json", add)):
        try:
            if (entry := manifest.entry_at(str(path))) is not None:  # None: removed since listed
                yield entry
        except (CorruptShard, UnreadableFile) as error:
            problems[str(path.relative_to(manifest.root))] = str(error)


def current_tables(
    root: Path, entries: Iterable[Entry], problems: Problems
) -> dict[str, list[Entry]]:
    """Entries by table, in order, without the tables that no recipe uses any more."""
    try:
        old = {one.table for one in superseded_tables(root)}
    except (CorruptShard, UnreadableFile) as error:
        problems["_manifest/recipes"], old = str(error), set[str]()
    of_table: dict[str, list[Entry]] = {}
    for entry in entries:
        of_table.setdefault(entry.shard.table, []).append(entry)
    return {
        table: sorted(found, key=lambda entry: (entry.shard.number, entry.shard.retry))
        for table, found in sorted(of_table.items())
        if table not in old
    }
