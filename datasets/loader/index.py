"""Training index: the rows of a training set; frames joined with variants and labels by key."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.loader.config import TrainingSetConfig
from nightrain.datasets.loader.joins import (
    CONDITIONS,
    join_labels,
    join_twins,
    join_variants,
    variant_tables,
)
from nightrain.datasets.loader.table_rows import TableRows, read_columns, read_keys
from nightrain.datasets.loader.twins import recorded_frames
from nightrain.datasets.shards.manifest import FRAMES, Entry, Manifest
from nightrain.datasets.shards.parquet import ShardFile
from nightrain.datasets.shards.reviews import read_reviews, rejected_ids
from nightrain.datasets.splits import NO_SPLIT, Split, default_split, is_in_split


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
    num_reviewed_out: int  # variants left out because people rejected them

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
    if config.stereo:
        _require_stereo(root, entries, config)
    frames = _of_first_drives(manifest, config, read_keys(root, entries, ["frame_id"]))
    condition = np.array([CONDITIONS.index(Condition(e.about["condition"])) for e in entries])
    labels, without_label = None, np.zeros(len(frames), bool)
    if config.labels is not None:
        labels, without_label = join_labels(manifest, config.labels, frames)
        labels, frames = labels.take(~without_label), frames.take(~without_label)
    conditions: tuple[Condition, ...]
    if config.twins:
        variants, shown, starts, conditions = join_twins(manifest, config, frames)
        num_uncontrolled = num_reviewed_out = 0
    else:
        tables = variant_tables(manifest, config)
        if config.variant_confidence:
            _require_confidence(manifest, [entries for entries, _ in tables])
        conditions = tuple(dict.fromkeys(condition for _, condition in tables))
        variants, shown, starts, num_uncontrolled, num_reviewed_out = join_variants(
            manifest,
            tables,
            frames,
            config.include_uncontrolled,
            rejected_ids(read_reviews(root)) if tables else (),
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
        num_reviewed_out=num_reviewed_out,
    )


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


def _require_confidence(manifest: Manifest, tables: list[list[Entry]]) -> None:
    """Raise InvalidRequest for a table whose first variant has no confidence picture."""
    for entries in tables:
        first = next((entry for entry in entries if entry.rows.num_rows), None)
        if first is None:
            continue
        if manifest.reader(first.rows).row(0, ("confidence",))["confidence"] is None:
            raise InvalidRequest(
                f"{first.shard.table} has no confidence pictures, which variant_confidence needs. "
                "Generate its variants by a recipe with the gate 'structure' or 'depth'."
            )


def _require_stereo(root: Path, entries: list[Entry], config: TrainingSetConfig) -> None:
    """Raise InvalidRequest where no frame has a stereo partner: nothing would learn from any."""
    columns = ["frame_id", "stereo_id"]
    if not any(
        table["stereo_id"].null_count < len(table)
        for table in (read_columns(root, entry.rows, columns) for entry in entries)
    ):
        num_frames = sum(entry.rows.num_rows for entry in entries)
        raise InvalidRequest(
            f"found no stereo partner of {num_frames} frames in split {config.split!r} of {root}, "
            "expected some, as data.stereo is set. Render a world, or ingest KITTI, with --stereo."
        )


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


def _group_numbers(file: ShardFile) -> np.ndarray:
    return np.repeat(np.arange(len(file.row_groups)), [g.num_rows for g in file.row_groups])


def _bytes_per_row(table: TableRows) -> float:
    return sum(f.num_bytes for f in table.files) / max(1, sum(f.num_rows for f in table.files))
