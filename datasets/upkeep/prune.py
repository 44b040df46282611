"""Pruning: removes variants, labels, captions and control maps, or the quarantine."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.regular import matching
from nightrain.datasets.shards.manifest import CAPTIONS, CONTROLS, LABELS, Entry, Manifest
from nightrain.datasets.shards.pinned import ENDING
from nightrain.datasets.shards.recipe_records import (
    VARIANTS,
    folder_of,
    recipe_records,
    select_tables,
    superseded_tables,
)
from nightrain.datasets.upkeep.changes import (
    files_of,
    leased,
    remove_files,
    remove_shard,
    replace_entry,
    require_changeable,
)


class PruneSelection(BaseModel):
    """What to remove."""

    variants: str = ""  # a recipe's name, a folder, or a hash
    labels: str = ""
    captions: str = ""
    controls: str = ""
    superseded: bool = False
    quarantine: bool = False  # only rejected rows: of the selected tables, or of all


class PrunedTable(BaseModel):
    """Part of a table that is removed."""

    table: str
    num_shards: int
    num_rows: int
    num_quarantined: int
    num_bytes: int


class PrunePlan(BaseModel):
    """Tables that lose all their shards, or their quarantine."""

    tables: list[PrunedTable]
    quarantine_only: bool
    shared: dict[str, str]  # tables that are kept, and a recipe that uses each
    done: bool = False

    @property
    def num_bytes(self) -> int:
        """Bytes that are freed."""
        return sum(table.num_bytes for table in self.tables)


def plan_prune(root: Path, selection: PruneSelection) -> PrunePlan:
    """Find what a selection removes; raises InvalidRequest if it selects nothing, CorruptShard."""
    manifest = Manifest(root)
    tables = _selected(manifest, selection)
    if not tables and not selection.quarantine and not selection.superseded:
        raise InvalidRequest(
            "Nothing is selected. Give --variants, --labels, --captions, --controls, "
            "--superseded or --quarantine."
        )
    if selection.quarantine and not tables and not selection.superseded:
        tables = manifest.tables()
    shared = _used_by_another(root, selection, tables)
    found = [
        _share(table, manifest.entries(table), selection.quarantine)
        for table in tables
        if table not in shared
    ]
    return PrunePlan(
        tables=[table for table in found if table.num_shards],
        quarantine_only=selection.quarantine,
        shared=shared,
    )


def prune(root: Path, plan: PrunePlan) -> PrunePlan:
    """Remove what a plan names, shard by shard: the manifest entry first, then the files.

    Raises InvalidRequest while another process makes shards of the dataset.
    """
    require_changeable(root)
    manifest = Manifest(root)
    for part in plan.tables:
        for entry in manifest.entries(part.table):
            with leased(manifest, entry.shard):
                _remove(manifest, entry, plan.quarantine_only)
        if not plan.quarantine_only:
            _remove_leftovers(manifest, part.table)
    return plan.model_copy(update={"done": True})


def _remove(manifest: Manifest, entry: Entry, quarantine_only: bool) -> None:
    if not quarantine_only:
        remove_shard(manifest, entry.shard, files_of(entry))
    elif entry.quarantine is not None:
        replace_entry(manifest, entry.model_copy(update={"quarantine": None}))
        remove_files(manifest.root, [entry.quarantine.path])


def _remove_leftovers(manifest: Manifest, table: str) -> None:
    """Remove head starts of a removed table, and settings pinned for its folder if that is gone."""
    stem = table.replace("/", "~")
    leftovers = [f"_partial/{p.name}" for p in matching(manifest.root / "_partial", f"{stem}~*")]
    folder = f"{VARIANTS}{folder_of(table)}"
    if table.startswith(VARIANTS) and not manifest.tables(f"{folder}/"):
        pinned = f"_manifest/{folder}{ENDING}"
        leftovers += [pinned, *_of_other_devices(manifest, folder)]
    remove_files(manifest.root, leftovers)


def _of_other_devices(manifest: Manifest, folder: str) -> list[str]:
    """Paths of the settings pinned for a folder on further device models."""
    parent, _, name = f"_manifest/{folder}".rpartition("/")
    return [f"{parent}/{p.name}" for p in matching(manifest.root / parent, f"{name}.*{ENDING}")]


def _selected(manifest: Manifest, selection: PruneSelection) -> list[str]:
    tables = select_tables(manifest, selection.variants) if selection.variants else []
    sidecars = {
        LABELS: selection.labels,
        CAPTIONS: selection.captions,
        CONTROLS: selection.controls,
    }
    for kind, wanted in sidecars.items():
        tables += [_only(manifest, kind, wanted)] if wanted else []
    if selection.superseded:
        committed = set(manifest.tables(VARIANTS))
        tables += [s.table for s in superseded_tables(manifest.root) if s.table in committed]
    return list(dict.fromkeys(tables))


def _only(manifest: Manifest, kind: str, wanted: str) -> str:
    """Return the table of a kind by its name or the name before its digest."""
    names = [table.removeprefix(f"{kind}/") for table in manifest.tables(f"{kind}/")]
    found = [n for n in names if n == wanted] or [n for n in names if n.startswith(f"{wanted}-")]
    if len(found) == 1:
        return f"{kind}/{found[0]}"
    raise InvalidRequest(
        f"{manifest.root} has {len(found) or 'no'} {kind} called {wanted!r}: expected one of "
        f"{', '.join(names) or 'none'}."
    )


def _used_by_another(
    root: Path, selection: PruneSelection, tables: Iterable[str]
) -> dict[str, str]:
    """Tables selected by a recipe's name that other recipes use now, each with such a recipe."""
    records = recipe_records(root)
    if selection.quarantine or selection.variants not in records:
        return {}
    return {
        table: name
        for name, of_name in records.items()
        for table in tables
        if name != selection.variants and table in of_name[-1].settings
    }


def _share(table: str, entries: list[Entry], quarantine_only: bool) -> PrunedTable:
    totals: Counter[str] = Counter()
    for entry in entries:
        rejected = entry.quarantine
        if quarantine_only and rejected is None:
            continue
        totals["num_shards"] += 1
        if rejected is not None:
            totals["num_quarantined"] += rejected.num_rows
            totals["num_bytes"] += rejected.num_bytes
        if not quarantine_only:
            totals["num_rows"] += entry.rows.num_rows
            totals["num_bytes"] += entry.rows.num_bytes
    names = ("num_shards", "num_rows", "num_quarantined", "num_bytes")
    return PrunedTable(table=table, **{name: totals[name] for name in names})
