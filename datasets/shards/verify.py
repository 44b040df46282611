"""Verification: hashes every committed file of a dataset again, regardless of earlier checks."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel

from nightrain.datasets.errors import CorruptShard, PlanMismatch
from nightrain.datasets.shards.label_rows import require_same_frames
from nightrain.datasets.shards.manifest import FRAMES, LABELS, Entry, Manifest
from nightrain.datasets.shards.parquet import ShardFile, keys_digest
from nightrain.datasets.shards.pinned import pinned_paths, read_pinned


class Problem(BaseModel):
    """A file that differs from its manifest entry."""

    path: str
    message: str


class VerifyReport(BaseModel):
    """What was verified, and the problems found."""

    num_shards: int = 0
    num_rows: int = 0
    num_quarantined: int = 0
    num_bytes: int = 0
    problems: list[Problem] = []
    orphans: list[str] = []

    @property
    def accepted(self) -> bool:
        """Whether all files match their entries, keys are unique, and labels match their frames."""
        return not self.problems


def verify(root: Path, progress: Callable[[int, int], None] | None = None) -> VerifyReport:
    """Hash every committed file, read every page, and check keys, labels and pinned settings.

    Keys must be unique within a table, and labels must match their frames row by row.
    """
    manifest, report = Manifest(root), VerifyReport()
    num_done, num_entries = 0, sum(1 for _ in (root / "_manifest").rglob("*.json"))
    for table in manifest.tables():
        seen: dict[str, str] = {}
        for path in sorted((root / "_manifest" / table).glob("*.json")):
            num_done += 1
            if progress is not None:
                progress(num_done, num_entries)
            try:
                entry = manifest.read_entry(path)
            except CorruptShard as error:
                _add(report, str(path.relative_to(root)), error)
                continue
            report.num_shards += 1
            report.num_rows += entry.rows.num_rows
            _check_file(manifest, entry.rows, seen, report)
            if entry.quarantine is not None:
                report.num_quarantined += entry.quarantine.num_rows
                _check_file(manifest, entry.quarantine, {}, report)
            if table.startswith(f"{LABELS}/"):
                _check_labels(manifest, entry, report)
    for path in pinned_paths(root):
        try:
            read_pinned(root, path)
        except CorruptShard as error:
            _add(report, str(path.relative_to(root)), error)
    report.orphans = manifest.orphans() if report.accepted else []
    return report


def _check_file(
    manifest: Manifest, file: ShardFile, seen: dict[str, str], report: VerifyReport
) -> None:
    """Check one file; `seen` maps the keys of its table to the file that contains each."""
    try:
        keys = _read_all(manifest, file)
    except FileNotFoundError:
        _add(report, file.path, CorruptShard("the file is missing"))
        return
    except (CorruptShard, OSError) as error:
        _add(report, file.path, error)
        return
    report.num_bytes += file.num_bytes
    for key in keys:
        if key in seen:
            _add(report, file.path, CorruptShard(f"{key} is also in {seen[key]}"))
        seen[key] = file.path


def _check_labels(manifest: Manifest, labels: Entry, report: VerifyReport) -> None:
    """Check that labels match their frames in number, order and content."""
    shard = labels.shard.model_copy(update={"table": FRAMES})
    try:
        frames = manifest.entry(shard)
        if frames is None:
            raise CorruptShard(f"{shard.name}, the frames of these labels, is not committed")
        require_same_frames(frames, labels)
    except (CorruptShard, PlanMismatch) as error:
        _add(report, labels.rows.path, error)


def _read_all(manifest: Manifest, file: ShardFile) -> list[str]:
    with open(manifest.root / file.path, "rb") as data:
        found = hashlib.file_digest(data, "sha256").hexdigest()
    if found != file.sha256:
        raise CorruptShard(f"sha256 is {found[:12]}..., the manifest says {file.sha256[:12]}...")
    reader = manifest.reader(file)
    keys: list[str] = []
    for group in range(len(file.row_groups)):
        keys += reader.group(group).column(0).to_pylist()
    if keys_digest(keys) != file.keys_sha256:
        raise CorruptShard("its keys differ from the committed ones")
    return keys


def _add(report: VerifyReport, path: str, error: Exception) -> None:
    report.problems.append(Problem(path=path, message=str(error)))
