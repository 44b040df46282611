"""Joins of a training set: variants, recorded twins and labels of its frames."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.loader.config import TrainingSetConfig
from nightrain.datasets.loader.table_rows import TableRows, positions, read_columns, read_keys
from nightrain.datasets.loader.twins import twins_of
from nightrain.datasets.shards.manifest import FRAMES, Entry, Manifest
from nightrain.datasets.shards.recipe_records import condition_of, select_tables

CONDITIONS = tuple(Condition)


def variant_tables(
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


class JoinedVariants(NamedTuple):
    """Variants of frames, sorted by frame and condition, and numbers of those left out."""

    rows: TableRows
    condition: np.ndarray  # (V,) int8, index into CONDITIONS
    starts: np.ndarray  # (N + 1,) int64, of the variants of each frame
    num_uncontrolled: int  # no control kept the frame's geometry
    num_reviewed_out: int  # people rejected them


def join_variants(
    manifest: Manifest,
    tables: Sequence[tuple[list[Entry], Condition]],
    frames: TableRows,
    include_uncontrolled: bool,
    reviewed_out: Collection[str] = (),
) -> JoinedVariants:
    """Join variants to these frames, sorted by frame and condition.

    Uncontrolled variants are left out unless they are included, and those that people reject.
    """
    entries = [entry for of_table, _ in tables for entry in of_table]
    codes = np.repeat(
        np.array([CONDITIONS.index(c) for _, c in tables], np.int8), [len(t) for t, _ in tables]
    )
    rows = read_keys(manifest.root, entries, ["sample_id", "frame_id", "controlled"])
    sample = positions(frames.columns["frame_id"], rows.columns["frame_id"])
    code = codes[rows.file] if len(rows) else np.zeros(0, np.int8)
    table_of_entry = np.repeat(np.arange(len(tables)), [len(t) for t, _ in tables])
    table_of_row = table_of_entry[rows.file]
    is_uncontrolled = np.zeros(len(rows), bool)
    if not include_uncontrolled:
        is_uncontrolled = np.array([value is False for value in rows.columns["controlled"]], bool)
        is_uncontrolled &= sample >= 0
    is_reviewed_out = (sample >= 0) & np.isin(rows.columns["sample_id"], list(reviewed_out))
    is_left_out = is_uncontrolled | is_reviewed_out
    found = np.bincount(table_of_row[sample >= 0], minlength=len(tables))
    uncontrolled = np.bincount(table_of_row[is_uncontrolled], minlength=len(tables))
    for (of_table, condition), number, number_out in zip(tables, found, uncontrolled, strict=True):
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
    return JoinedVariants(
        rows=rows.take(order),
        condition=code[order],
        starts=starts,
        num_uncontrolled=int(is_uncontrolled.sum()),
        num_reviewed_out=int((is_reviewed_out & ~is_uncontrolled).sum()),
    )


def join_twins(
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


def join_labels(
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
    position = positions(rows.columns["frame_id"], frames.columns["frame_id"])
    rejected = [e.quarantine for e in entries if e.quarantine is not None]
    quarantined = {
        key
        for file in rejected
        for key in read_columns(manifest.root, file, ["sample_id", "frame_id"])
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
    foreign = positions(frames, rows.columns["frame_id"]) < 0
    if foreign.any():
        raise InvalidRequest(
            f"{table} holds labels of another frame set: {int(foreign.sum())} of its {len(rows)} "
            f"rows are of frames that are not in {manifest.root}, the first "
            f"{rows.columns['frame_id'][foreign][0]}. Label these frames again."
        )
