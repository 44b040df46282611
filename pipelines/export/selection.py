"""Selection of an export: committed, current rows, without what people and gates rejected.

Variants that gates rejected are in the quarantine and not in these tables. What people rejected,
and what no control kept to the frame's geometry, is left out here, as in training.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import CorruptShard, InvalidRequest
from nightrain.datasets.loader.index import default_split_of
from nightrain.datasets.loader.table_rows import read_columns
from nightrain.datasets.shards.manifest import FRAMES, LABELS, Entry, Manifest
from nightrain.datasets.shards.parquet import Row, ShardFile
from nightrain.datasets.shards.recipe_records import (
    VARIANTS,
    condition_of,
    select_tables,
    superseded_tables,
)
from nightrain.datasets.shards.reviews import SAMPLE_ID, read_reviews, rejected_ids
from nightrain.datasets.splits import NO_SPLIT, SPLITS, is_in_split
from nightrain.pipelines.depth.train_job import labels_folder
from nightrain.pipelines.export.job import ExportDatasetJob

ORIGIN = ("source_id", "source_dataset", "split", "scene_id", "camera", "condition", "timestamp_us")
SIZE = ("width", "height", "intrinsics")
RIGHTS = ("licence", "attribution")
FRAME_FACTS = ("frame_id", *ORIGIN, *SIZE, *RIGHTS, "exact_depth.path", "lidar_depth.path")
VARIANT_FACTS = (
    *("sample_id", "frame_id", *ORIGIN, *SIZE, *RIGHTS, "severity", "physical", "seed"),
    *("variant_index", "recipe", "recipe_hash", "engine", "engine_version", "prompt"),
    *("controlled", "gates", "confidence.path"),
)
LABEL_FACTS = ("frame_id", *SIZE, "teacher", "teacher_sha256", "depth.path")
BY_PEOPLE = "rejected by people"
UNCONTROLLED = "no control acted on them"
WITHOUT_FRAME = "their frame is not in the dataset"


@dataclass(frozen=True, slots=True)
class ShardFacts:
    """Columns without pictures of the rows of one file, and the number of each row in it."""

    file: ShardFile
    facts: pa.Table
    numbers: Sequence[int]

    def by_frame(self) -> dict[str, tuple[int, Row]]:
        """Number and facts of each row by its frame."""
        rows = zip(self.numbers, self.facts.to_pylist(), strict=True)
        return {facts["frame_id"]: (number, facts) for number, facts in rows}


@dataclass(frozen=True, slots=True)
class FrameGroup:
    """A shard of frames with the shards that belong to it, each without what is left out."""

    split: str
    frames: ShardFacts  # all of them: variants take depth and labels from here
    labels: ShardFacts | None
    shown: tuple[ShardFacts, ...]  # images to export, frames first


@dataclass(frozen=True, slots=True)
class ExportRow:
    """An image to export, with its frame and the frame's label."""

    facts: Row
    at: tuple[ShardFile, int]
    frame: Row
    frame_at: tuple[ShardFile, int]
    label: Row | None
    label_at: tuple[ShardFile, int] | None

    @property
    def is_generated(self) -> bool:
        """Whether it is a variant."""
        return "sample_id" in self.facts

    @property
    def key(self) -> str:
        """Name of the image: the variant's or the frame's, 20 hex digits."""
        return self.facts["sample_id"] if self.is_generated else self.facts["frame_id"]


@dataclass(frozen=True, slots=True)
class ExportSelection:
    """Rows of an export in their order, which the dataset and the options alone decide."""

    groups: tuple[FrameGroup, ...]
    split: str
    left_out: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(part.facts.num_rows for group in self.groups for part in group.shown)

    @property
    def num_variants(self) -> int:
        """Number of variants among the rows."""
        parts = [part.facts for group in self.groups for part in group.shown]
        return sum(facts.num_rows for facts in parts if "sample_id" in facts.column_names)

    @property
    def digest(self) -> str:
        """SHA-256 of the files and of the rows in them."""
        files = [
            [part.file.sha256, list(part.numbers)] for group in self.groups for part in group.shown
        ]
        files += [[group.labels.file.sha256, []] for group in self.groups if group.labels]
        return hashlib.sha256(json.dumps(files).encode()).hexdigest()

    def rows(self) -> Iterator[ExportRow]:
        """Yield the rows, with one shard of frames in memory at a time."""
        for group in self.groups:
            frames = group.frames.by_frame()
            labels = {} if group.labels is None else group.labels.by_frame()
            for part in group.shown:
                for number, facts in zip(part.numbers, part.facts.to_pylist(), strict=True):
                    yield _row(group, part, number, facts, frames, labels)


def _row(
    group: FrameGroup,
    part: ShardFacts,
    number: int,
    facts: Row,
    frames: dict[str, tuple[int, Row]],
    labels: dict[str, tuple[int, Row]],
) -> ExportRow:
    frame_number, frame = frames[facts["frame_id"]]
    label_number, label = labels.get(facts["frame_id"], (0, None))
    if label is not None and label["depth"] is None:  # the frame could not be labelled
        label = None
    has_label = label is not None and group.labels is not None
    row = ExportRow(
        facts=facts,
        at=(part.file, number),
        frame=frame,
        frame_at=(group.frames.file, frame_number),
        label=label,
        label_at=(group.labels.file, label_number) if has_label and group.labels else None,
    )
    if not SAMPLE_ID.fullmatch(row.key) or not SAMPLE_ID.fullmatch(facts["frame_id"]):
        raise CorruptShard(
            f"{part.file.path} row {number} has the id {row.key!r:.60}, expected 20 hex digits, "
            "which name its files. Make the shard again."
        )
    return row


def select(job: ExportDatasetJob) -> ExportSelection:
    """Select the rows of an export.

    Raises InvalidRequest for a split without frames, recipes or conditions without variants, and
    labels that are not there; CorruptShard.
    """
    manifest = Manifest(job.dataset)
    split = job.split if job.split != "train" else default_split_of(manifest, "train")
    entries = _frame_entries(manifest, split)
    tables = _variant_tables(manifest, job)
    variants = {table: _by_number(manifest.entries(table)) for table in tables}
    labels: dict[int, list[Entry]] = {}
    if job.labels is not None:
        table = f"{LABELS}/{labels_folder(job.dataset, job.labels)}"
        labels = _by_number(manifest.entries(table))
    elif job.depth == "label":
        raise InvalidRequest("--depth label needs --labels with the name of the teacher's labels.")
    out = rejected_ids(read_reviews(job.dataset)) if tables else set()
    left_out: Counter[str] = Counter()
    groups = []
    for entry in entries:
        number, frames = entry.shard.number, _facts(manifest, entry, FRAME_FACTS)
        of_label = [_facts(manifest, one, LABEL_FACTS) for one in labels.get(number, [])]
        shown = [frames] if _is_shown(entry, job) else []
        known = set(frames.facts.column("frame_id").to_pylist())
        for of_number in variants.values():
            for one in of_number.get(number, []):
                found = _facts(manifest, one, VARIANT_FACTS)
                shown.append(_accepted(found, known, out, left_out, job.include_uncontrolled))
        name = entry.about.get("split", NO_SPLIT)
        groups.append(FrameGroup(name, frames, of_label[0] if of_label else None, tuple(shown)))
    return ExportSelection(tuple(groups), split, dict(left_out))


def _frame_entries(manifest: Manifest, split: str) -> list[Entry]:
    """Frames shards of the split, in the order of the splits."""
    entries = [entry for entry in manifest.entries(FRAMES) if entry.rows.num_rows]
    of_split = [e for e in entries if is_in_split(e.about.get("split", NO_SPLIT), split)]
    if not of_split:
        there = sorted({e.about.get("split", NO_SPLIT) for e in entries})
        raise InvalidRequest(
            f"{manifest.root} has no frames in split {split!r}; it has: "
            f"{', '.join(there) or 'no frames at all'}. Choose one of these with --split."
        )
    order = (*SPLITS, NO_SPLIT)
    return sorted(of_split, key=lambda e: order.index(e.about.get("split", NO_SPLIT)))


def _variant_tables(manifest: Manifest, job: ExportDatasetJob) -> list[str]:
    """Tables of variants, by condition and name; superseded ones only if a recipe names them."""
    if job.recipe:
        tables = list(dict.fromkeys(t for r in job.recipe for t in select_tables(manifest, r)))
    else:
        old = {one.table for one in superseded_tables(manifest.root)}
        tables = [table for table in manifest.tables(VARIANTS) if table not in old]
    conditions = [Condition(condition_of(table)) for table in tables]
    if missing := [str(c) for c in job.condition if c not in conditions]:
        raise InvalidRequest(
            f"{manifest.root} has no {', '.join(missing)} variants here; it has: "
            f"{', '.join(sorted(set(conditions))) or 'none'}. Change --condition or --recipe."
        )
    order = list(Condition)
    return sorted(
        (t for t in tables if not job.condition or condition_of(t) in job.condition),
        key=lambda table: (order.index(Condition(condition_of(table))), table),
    )


def _by_number(entries: Sequence[Entry]) -> dict[int, list[Entry]]:
    found: dict[int, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.shard.number, []).append(entry)
    return found


def _is_shown(entry: Entry, job: ExportDatasetJob) -> bool:
    if job.to == "md4all":  # it has the frames
        return False
    return job.recorded or entry.about.get("condition") == Condition.CLEAR


def _facts(manifest: Manifest, entry: Entry, columns: Sequence[str]) -> ShardFacts:
    facts = read_columns(manifest.root, entry.rows, columns)
    return ShardFacts(entry.rows, facts, range(facts.num_rows))


def _accepted(
    found: ShardFacts,
    frames: Collection[str],
    reviewed_out: Collection[str],
    left_out: Counter[str],
    include_uncontrolled: bool,
) -> ShardFacts:
    """Variants that training would see; counts the others by reason."""
    kept = []
    columns = (found.facts.column(name).to_pylist() for name in ("sample_id", "frame_id"))
    controlled = found.facts.column("controlled").to_pylist()
    for number, (key, frame, control) in enumerate(zip(*columns, controlled, strict=True)):
        if frame not in frames:
            left_out[WITHOUT_FRAME] += 1
        elif control is False and not include_uncontrolled:
            left_out[UNCONTROLLED] += 1
        elif key in reviewed_out:
            left_out[BY_PEOPLE] += 1
        else:
            kept.append(number)
    return ShardFacts(found.file, found.facts.take(pa.array(kept, pa.int64())), kept)


def unique(selection: ExportSelection, column: str) -> list[str]:
    """Values of a text column over all rows, sorted."""
    found: set[str] = set()
    for group in selection.groups:
        for part in group.shown:
            found |= set(part.facts.column(column).unique().to_pylist())
    return sorted(value for value in found if value is not None)
