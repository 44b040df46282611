"""Training index: the rows of a training set; frames joined with variants and labels by key.

Only key columns are read, and checked against the digest of the keys in the manifest; images are
checked when they are read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import CorruptShard, InvalidRequest
from nightrain.datasets.loader.config import TrainingSetConfig
from nightrain.datasets.loader.twins import recorded_frames, twins_of
from nightrain.datasets.shards.manifest import FRAMES, Entry, Manifest
from nightrain.datasets.shards.parquet import ShardFile, ShardReader, keys_digest
from nightrain.datasets.shards.recipe_records import condition_of, select_tables
from nightrain.datasets.splits import NO_SPLIT, Split, default_split, is_in_split

CONDITIONS = tuple(Condition)


@dataclass(frozen=True)
class TableRows:
    """Rows of several shards: the position of each, and its key columns."""

    files: tuple[ShardFile, ...]
    file: np.ndarray  # (N,) int32, index into files
    row: np.ndarray  # (N,) int32, row in that file
    columns: dict[str, np.ndarray]  # each (N,), str or object

    def __len__(self) -> int:
        return len(self.row)

    def take(self, which: np.ndarray) -> "TableRows":
        """Return some of the rows."""
        columns = {name: values[which] for name, values in self.columns.items()}
        return TableRows(self.files, self.file[which], self.row[which], columns)


@dataclass(frozen=True)
class TrainingIndex:
    """Sample i is frame i; its variants are rows `variant_starts[i]` to `[i + 1]` of `variants`."""

    frames: TableRows
    frame_condition: np.ndarray  # (N,) int8, index into CONDITIONS
    variants: TableRows
    variant_condition: np.ndarray  # (V,) int8, increasing within a frame
    variant_starts: np.ndarray  # (N + 1,) int64
    conditions: tuple[Condition, ...]  # conditions that the variants have
    labels: TableRows | None  # row i belongs to frame i
    num_without_label: int  # frames left out because their label is in quarantine
    num_uncontrolled: int  # variants left out because no control kept the frame's geometry

    def blocks(self) -> list[int]:
        """Lengths of runs of samples with frames in the same row group."""
        group = np.concatenate([_group_numbers(file) for file in self.frames.files])
        first_row = np.cumsum([0, *(file.num_rows for file in self.frames.files[:-1])])
        groups = group[first_row[self.frames.file] + self.frames.row]
        places = self.frames.file.astype(np.int64) * (group.max() + 1) + groups
        ends = np.flatnonzero(np.diff(places)) + 1
        return np.diff([0, *ends, len(places)]).tolist()

    def bytes_per_block(self) -> float:
        """Mean number of bytes of a frames row group, including everything joined to it."""
        tables = [self.frames, self.variants] + ([self.labels] if self.labels else [])
        total = sum(_bytes_per_row(table) * len(table) for table in tables)
        return total / len(self.blocks())


def build_index(root: Path, config: TrainingSetConfig) -> TrainingIndex:
    """Read the keys and join them.

    Raises InvalidRequest for a condition without frames, a recipe without variants of these frames,
    and labels that are missing or belong to other frames; CorruptShard.
    """
    manifest = Manifest(root)
    entries = _frame_entries(manifest, config)
    frames = _of_first_drives(manifest, config, read_keys(root, entries, ["frame_id"]))
    condition = np.array([CONDITIONS.index(Condition(e.about["condition"])) for e in entries])
    labels, without_label = None, np.zeros(len(frames), bool)
    if config.labels is not None:
        labels, without_label = _join_labels(manifest, config.labels, frames)
        labels, frames = labels.take(~without_label), frames.take(~without_label)
    conditions: tuple[Condition, ...]
    if config.twins:
        variants, shown, starts, conditions = _join_twins(manifest, config, frames)
        num_uncontrolled = 0
    else:
        tables = _variant_tables(manifest, config)
        conditions = tuple(dict.fromkeys(condition for _, condition in tables))
        variants, shown, starts, num_uncontrolled = _join_variants(
            manifest, tables, frames, config.include_uncontrolled
        )
    return TrainingIndex(
        frames=frames,
        frame_condition=condition[frames.file].astype(np.int8),
        variants=variants,
        variant_condition=shown,
        variant_starts=starts,
        conditions=conditions,
        labels=labels,
        num_without_label=int(without_label.sum()),
        num_uncontrolled=num_uncontrolled,
    )


def read_keys(root: Path, entries: Sequence[Entry], columns: Sequence[str]) -> TableRows:
    """Read key columns of committed shards, the table's own key first; raises CorruptShard."""
    files = tuple(entry.rows for entry in entries)
    tables = [_read_columns(root, file, columns) for file in files]
    counts = [file.num_rows for file in files]
    return TableRows(
        files=files,
        file=np.repeat(np.arange(len(files), dtype=np.int32), counts),
        row=np.concatenate([np.arange(n, dtype=np.int32) for n in counts] or [np.zeros(0, int)]),
        columns={name: _values(tables, name) for name in columns},
    )


def _read_columns(root: Path, file: ShardFile, columns: Sequence[str]) -> pa.Table:
    table = ShardReader(root, file).scan(columns)
    if keys_digest(table.column(columns[0]).to_pylist()) != file.keys_sha256:
        raise CorruptShard(
            f"{file.path}: the keys of its {table.num_rows} rows differ from the manifest's. "
            "`nightrain verify` lists every such file, `nightrain repair` repairs them."
        )
    return table


def _values(tables: Sequence[pa.Table], name: str) -> np.ndarray:
    values = [value for table in tables for value in table.column(name).to_pylist()]
    is_text = all(pa.types.is_string(table.schema.field(name).type) for table in tables)
    return np.array(values, dtype=np.str_ if is_text else object)


def default_split_of(manifest: Manifest, usual: Split) -> Split:
    """Split to read unless one is given: the usual one, or none where no frame is in any list."""
    entries = (entry for entry in manifest.entries(FRAMES) if entry.rows.num_rows)
    return default_split({entry.about.get("split", NO_SPLIT) for entry in entries}, usual)


def _frame_entries(manifest: Manifest, config: TrainingSetConfig) -> list[Entry]:
    """Frames shards of the split and the conditions; a shard never mixes them."""
    entries = manifest.entries(FRAMES)
    of_split = [e for e in entries if is_in_split(e.about.get("split", NO_SPLIT), config.split)]
    found = {e.about.get("condition") for e in of_split if e.rows.num_rows}
    if missing := [str(c) for c in config.conditions if c not in found]:
        there = sorted({f"{e.about.get('split')}/{e.about.get('condition')}" for e in entries})
        raise InvalidRequest(
            f"{manifest.root} has no {', '.join(missing)} frames in split {config.split!r}; it has "
            f"{', '.join(there) or 'no frames at all'}. Ingest them, or choose from these: --split."
        )
    return [e for e in of_split if e.about["condition"] in config.conditions and e.rows.num_rows]


def _variant_tables(
    manifest: Manifest, config: TrainingSetConfig
) -> list[tuple[list[Entry], Condition]]:
    """Entries and condition of every selected table of variants, each table once."""
    tables = dict.fromkeys(t for name in config.recipes for t in select_tables(manifest, name))
    made = {table: Condition(condition_of(table)) for table in tables}
    wanted = config.variant_conditions or tuple(Condition)
    if missing := [str(c) for c in config.variant_conditions or () if c not in made.values()]:
        raise InvalidRequest(
            f"{manifest.root} has no {', '.join(missing)} variants of {', '.join(config.recipes)}; "
            f"it has: {', '.join(made.values())}. Run `nightrain generate` to add variants."
        )
    chosen = sorted((CONDITIONS.index(c), t) for t, c in made.items() if c in wanted)
    return [(manifest.entries(table), CONDITIONS[code]) for code, table in chosen]


def _join_variants(
    manifest: Manifest,
    tables: Sequence[tuple[list[Entry], Condition]],
    frames: TableRows,
    include_uncontrolled: bool,
) -> tuple[TableRows, np.ndarray, np.ndarray, int]:
    """Join variants to these frames, sorted by frame and condition.

    Returns the variants, their conditions, the starts, and the number of uncontrolled variants that
    are left out.
    """
    entries = [entry for of_table, _ in tables for entry in of_table]
    codes = np.repeat(
        np.array([CONDITIONS.index(c) for _, c in tables], np.int8), [len(t) for t, _ in tables]
    )
    rows = read_keys(manifest.root, entries, ["sample_id", "frame_id", "controlled"])
    sample = _positions(frames.columns["frame_id"], rows.columns["frame_id"])
    code = codes[rows.file] if len(rows) else np.zeros(0, np.int8)
    table_of_entry = np.repeat(np.arange(len(tables)), [len(t) for t, _ in tables])
    table_of_row = table_of_entry[rows.file]
    is_left_out = np.zeros(len(rows), bool)
    if not include_uncontrolled:
        is_uncontrolled = [value is False for value in rows.columns["controlled"]]
        is_left_out = (sample >= 0) & np.array(is_uncontrolled, bool)
    found = np.bincount(table_of_row[sample >= 0], minlength=len(tables))
    left_out = np.bincount(table_of_row[is_left_out], minlength=len(tables))
    for (of_table, condition), number, number_out in zip(tables, found, left_out, strict=True):
        name = of_table[0].shard.table
        if number == 0:
            raise InvalidRequest(
                f"{name} holds no variant of the {len(frames)} selected frames. Generate variants "
                f"for this split, or remove {condition} from the training set."
            )
        if number == number_out:
            raise InvalidRequest(
                f"On none of the {number} variants of {name} did a control act, so the frames' "
                "labels may not fit them. Use a recipe with controls; only `nightrain train` can "
                "train on them anyway, with --include-uncontrolled."
            )
    sample = np.where(is_left_out, -1, sample)
    order = np.lexsort((code, sample))
    order = order[sample[order] >= 0]
    starts = np.searchsorted(sample[order], np.arange(len(frames) + 1))
    return rows.take(order), code[order], starts, int(is_left_out.sum())


def _of_first_drives(manifest: Manifest, config: TrainingSetConfig, frames: TableRows) -> TableRows:
    """Frames of the first `max_drives` drives by name; raises InvalidRequest if there are fewer."""
    if config.max_drives is None:
        return frames
    recorded = recorded_frames(manifest.root, config.split)
    drive_of = {one.frame_id: one.geometry.drive for one in recorded}
    drives = np.array([drive_of[one] for one in frames.columns["frame_id"].tolist()])
    names = np.unique(drives)
    if len(names) < config.max_drives:
        raise InvalidRequest(
            f"{manifest.root} has {len(names)} drives in split {config.split!r} under these "
            f"conditions, expected at least max_drives {config.max_drives}. Lower it, or leave it "
            "out."
        )
    return frames.take(np.isin(drives, names[: config.max_drives]))


def _join_twins(
    manifest: Manifest, config: TrainingSetConfig, frames: TableRows
) -> tuple[TableRows, np.ndarray, np.ndarray, tuple[Condition, ...]]:
    """Recorded twins of these frames in place of variants, sorted by frame and condition.

    Returns the twins, their conditions, the starts, and all conditions.
    """
    ids = frames.columns["frame_id"]
    found = twins_of(manifest.root, config.split, ids, config.variant_conditions)
    files = tuple({one.entry.rows.path: one.entry.rows for _, one in found}.values())
    number_of = {file.path: number for number, file in enumerate(files)}
    twins = TableRows(
        files=files,
        file=np.array([number_of[one.entry.rows.path] for _, one in found], np.int32),
        row=np.array([one.row for _, one in found], np.int32),
        columns={"frame_id": np.array([one.frame_id for _, one in found])},
    )
    codes = np.array([CONDITIONS.index(one.condition) for _, one in found], np.int8)
    samples = np.array([sample for sample, _ in found])
    starts = np.searchsorted(samples, np.arange(len(frames) + 1))
    return twins, codes, starts, tuple(CONDITIONS[code] for code in np.unique(codes))


def _join_labels(
    manifest: Manifest, teacher: str, frames: TableRows
) -> tuple[TableRows, np.ndarray]:
    """Label rows in the order of the frames, and the frames with a quarantined label."""
    table = f"labels/{teacher}"
    entries = manifest.entries(table)
    if not entries:
        there = ", ".join(manifest.tables("labels/")) or "none"
        raise InvalidRequest(
            f"{manifest.root} has no labels of {teacher!r}; it has: {there}. Make them with "
            "`nightrain label`, or train without labels."
        )
    rows = read_keys(manifest.root, entries, ["frame_id", "teacher_sha256"])
    if len(teachers := sorted(set(rows.columns["teacher_sha256"].tolist()))) > 1:
        raise InvalidRequest(
            f"{table} mixes labels of {len(teachers)} teachers ({', '.join(teachers)[:80]}). "
            "Label the frames again under another name."
        )
    _refuse_foreign(manifest, table, rows)
    position = _positions(rows.columns["frame_id"], frames.columns["frame_id"])
    rejected = [e.quarantine for e in entries if e.quarantine is not None]
    quarantined = {
        key
        for file in rejected
        for key in _read_columns(manifest.root, file, ["sample_id", "frame_id"])
        .column("frame_id")
        .to_pylist()
    }
    ids = frames.columns["frame_id"]
    # A frame that could not be labelled has an empty row, so the tables match row by row.
    without = (position < 0) | np.isin(ids, sorted(quarantined))
    unexplained = [i for i in ids[without].tolist() if i not in quarantined]
    if unexplained or without.all():
        raise InvalidRequest(
            f"{table} has no label for {len(unexplained)} of {len(frames)} frames, the first "
            f"{unexplained[:1]}. Run `nightrain label` to make what is missing."
        )
    return rows.take(np.maximum(position, 0)), without


def _refuse_foreign(manifest: Manifest, table: str, rows: TableRows) -> None:
    """Raise InvalidRequest for labels of frames that are not in this dataset."""
    known = {(e.shard.number, e.rows.keys_sha256) for e in manifest.entries(FRAMES)}
    entries = manifest.entries(table)
    odd = [e for e in entries if (e.shard.number, e.rows.keys_sha256) not in known]
    if not odd:
        return
    frames = read_keys(manifest.root, manifest.entries(FRAMES), ["frame_id"]).columns["frame_id"]
    foreign = _positions(frames, rows.columns["frame_id"]) < 0
    if foreign.any():
        raise InvalidRequest(
            f"{table} holds labels of another frame set: {int(foreign.sum())} of its {len(rows)} "
            f"rows are of frames that are not in {manifest.root}, the first "
            f"{rows.columns['frame_id'][foreign][0]}. Label these frames again."
        )


def _positions(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Position of each wanted key in `keys` (N,), int64; -1 if it is missing."""
    if not len(keys) or not len(wanted):
        return np.full(len(wanted), -1, np.int64)
    order = np.argsort(keys, kind="stable")
    found = np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)
    places = order[found]
    return np.where(keys[places] == wanted, places, -1)


def _group_numbers(file: ShardFile) -> np.ndarray:
    return np.repeat(np.arange(len(file.row_groups)), [g.num_rows for g in file.row_groups])


def _bytes_per_row(table: TableRows) -> float:
    return sum(f.num_bytes for f in table.files) / max(1, sum(f.num_rows for f in table.files))
