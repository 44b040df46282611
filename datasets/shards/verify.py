"""Verification: hashes the committed files of a dataset again, regardless of earlier checks.

A dataset is accepted only if everything in it could be read. A part of its shards can be chosen, by
date or at random; the report says what was not checked.
"""

import os
import random
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel

from nightrain.datasets.errors import CorruptShard, InvalidRequest, PlanMismatch, UnreadableFile
from nightrain.datasets.io.regular import files_below, kind_of, sha256_of
from nightrain.datasets.shards.frame_plan import read_plans, require_planned
from nightrain.datasets.shards.label_rows import require_same_frames
from nightrain.datasets.shards.manifest import (
    DATA_FOLDERS,
    FRAMES,
    ROW_BY_ROW,
    Entry,
    Manifest,
    Shard,
    shard_of_file,
)
from nightrain.datasets.shards.parquet import ShardFile, keys_digest
from nightrain.datasets.shards.pinned import read_pinned


class Problem(BaseModel):
    """A file that cannot be read or differs from its manifest entry."""

    path: str
    message: str


class VerifyReport(BaseModel):
    """What was verified, and the problems found."""

    num_shards: int = 0
    num_rows: int = 0
    num_quarantined: int = 0
    num_uncontrolled: int = 0  # variants read on which no control acted
    num_bytes: int = 0  # of files whose content was checked
    num_unread: int = 0  # shards left out by `since` or `share`: only name, kind and size checked
    problems: list[Problem] = []
    orphans: list[str] = []  # data files without an entry that no process is committing
    in_progress: list[str] = []  # data files that a live process is about to commit

    @property
    def accepted(self) -> bool:
        """Whether there are shards, and all of them and no other files are as committed."""
        return self.num_shards > 0 and not self.problems and not self.orphans


def verify(
    root: Path,
    progress: Callable[[int, int], None] | None = None,
    *,
    since: datetime | None = None,
    share: float = 1.0,
    seed: int | None = None,
) -> VerifyReport:
    """Hash every committed file, read every page, and check keys, labels and pinned settings.

    Keys must be unique within a table; labels and control maps must match their frames row by row.
    With `since`, only shards committed since then are read; with `share`, a random share of them,
    which differs between calls unless a `seed` is given. Raises InvalidRequest without a manifest,
    and PlanMismatch for a dataset of another schema version.
    """
    if not (root / "_manifest").is_dir():
        raise InvalidRequest(
            f"{root} holds no committed shards: it has no folder _manifest. Give the folder that "
            "`nightrain ingest --out` wrote; files below it without a manifest are not a dataset."
        )
    checks = _Checks(root)
    entries = checks.entries()
    chosen = _choose([e for e in entries if _is_since(e, since)], share, random.Random(seed))
    for number, entry in enumerate(entries):
        checks.check(entry, read=entry.shard.name in chosen)
        if progress is not None:
            progress(number + 1, len(entries))
    checks.check_records()
    checks.find_orphans()
    return checks.report


def require_in_place(root: Path, file: ShardFile) -> None:
    """Require a regular file of the committed size at a file's name, without opening anything.

    A symlink may lead to a file inside the dataset. Raises CorruptShard; UnreadableFile if that
    cannot be told.
    """
    path = root / file.path
    try:
        kind = kind_of(path)
        if kind == "a symbolic link":
            target = path.resolve()
            if not target.is_relative_to(root.resolve()):
                raise CorruptShard(
                    f"it is a symbolic link to {target}, outside the dataset; copy the file here"
                )
            kind = kind_of(target)
        num_bytes = os.stat(path).st_size
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CorruptShard("the file is missing") from error
    except RuntimeError as error:  # a loop of symlinks
        raise CorruptShard(f"it cannot be resolved: {error}") from error
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read: {error.strerror}") from error
    if kind != "a regular file":
        raise CorruptShard(f"it is {kind}; expected a regular file")
    if num_bytes != file.num_bytes:
        raise CorruptShard(f"it has {num_bytes} bytes; expected {file.num_bytes}")


def lost_files(root: Path, entries: Iterable[Entry]) -> Iterator[tuple[str, str]]:
    """Yield path and problem of each committed file that is not there or has another size.

    Nothing is read, so it takes a few microseconds a file.
    """
    for entry in entries:
        for file in filter(None, (entry.rows, entry.quarantine)):
            try:
                require_in_place(root, file)
            except (CorruptShard, UnreadableFile) as error:
                yield file.path, str(error)


def read_file(manifest: Manifest, file: ShardFile) -> list[str]:
    """Hash a file and read every page; return its keys. Raises CorruptShard, UnreadableFile."""
    found = sha256_of(manifest.root / file.path)
    if found != file.sha256:
        raise CorruptShard(f"sha256 is {found[:12]}..., the manifest says {file.sha256[:12]}...")
    reader = manifest.reader(file)
    keys: list[str] = []
    for group in range(len(file.row_groups)):
        keys += reader.group(group).column(0).to_pylist()
    if keys_digest(keys) != file.keys_sha256:
        raise CorruptShard("its keys differ from the committed ones")
    return keys


class _Checks:
    """The checks of one dataset, and what they found."""

    def __init__(self, root: Path) -> None:
        self.root, self.manifest, self.report = root, Manifest(root), VerifyReport()
        self._frames: dict[Shard, Entry] = {}
        self._seen: dict[str, dict[str, str]] = {}  # by table: keys, and the file that holds each

    def entries(self) -> list[Entry]:
        """Read all entries; raises PlanMismatch."""
        entries = []
        for path in self._files(self.root / "_manifest", ".json"):
            try:
                entries.append(self.manifest.read_entry(path))
            except FileNotFoundError:
                continue  # removed since it was listed
            except (CorruptShard, UnreadableFile) as error:
                self._add(str(path.relative_to(self.root)), error)
        entries.sort(key=lambda e: (e.shard.table, e.shard.number, e.shard.retry))
        self._frames = {e.shard: e for e in entries if e.shard.table == FRAMES}
        return entries

    def check(self, entry: Entry, *, read: bool) -> None:
        """Check the files of one shard, by content if `read`, and its match with its frames."""
        self.report.num_shards += 1
        self.report.num_rows += entry.rows.num_rows
        self.report.num_unread += not read
        self._check_file(entry, entry.rows, self._seen.setdefault(entry.shard.table, {}), read)
        if entry.quarantine is not None:
            self.report.num_quarantined += entry.quarantine.num_rows
            self._check_file(entry, entry.quarantine, {}, read)
        if "frames_sha256" in entry.about:
            self._check_frames(entry)

    def check_records(self) -> None:
        """Check the plans of frames and the pinned settings."""
        try:
            require_planned(self.root, read_plans(self.root))
        except (CorruptShard, UnreadableFile) as error:
            self._add("_plan", error)
        for path in self._files(self.root / "_manifest", ".pinned"):
            try:
                read_pinned(self.root, path)
            except (CorruptShard, UnreadableFile) as error:
                self._add(str(path.relative_to(self.root)), error)

    def find_orphans(self) -> None:
        """List data files without an entry, by whether a live process is committing them."""
        for top in DATA_FOLDERS:
            self._files(self.root / top, ".parquet")
        if self.report.problems:  # the files of a damaged entry are not known
            return
        try:
            orphans = self.manifest.orphans()
        except (CorruptShard, UnreadableFile) as error:
            self._add("_manifest", error)
            return
        for name in orphans:
            shard = shard_of_file(name)
            if shard is not None and self.manifest.is_leased(shard):
                self.report.in_progress.append(name)
            elif shard is None or not _names(self.manifest.entry(shard), name):
                self.report.orphans.append(name)

    def _check_file(self, entry: Entry, file: ShardFile, seen: dict[str, str], read: bool) -> None:
        """Check one file; `seen` maps the keys of its table to the file that contains each."""
        try:
            require_in_place(self.root, file)
            keys = read_file(self.manifest, file) if read else []
        except (CorruptShard, OSError, UnreadableFile) as error:
            if self._is_current(entry):  # otherwise removed or replaced since it was listed
                self._add(file.path, error)
            return
        self.report.num_bytes += file.num_bytes if read else 0
        if read and file == entry.rows and entry.shard.table.startswith("variants/"):
            self.report.num_uncontrolled += _num_uncontrolled(self.manifest, file)
        for key in keys:
            if key in seen:
                self._add(file.path, CorruptShard(f"{key} is also in {seen[key]}"))
            seen[key] = file.path

    def _check_frames(self, entry: Entry) -> None:
        """Check that a shard was made from committed frames; labels also row by row."""
        retry = 0 if entry.shard.table.startswith("variants/") else entry.shard.retry
        shard = Shard(table=FRAMES, number=entry.shard.number, retry=retry)
        frames = self._frames.get(shard)
        try:
            if frames is None:
                raise CorruptShard(f"{shard.name}, which it was made from, is not committed")
            if entry.shard.table.split("/")[0] in ROW_BY_ROW:
                require_same_frames(frames, entry)
            elif entry.about["frames_sha256"] != frames.rows.keys_sha256:
                raise CorruptShard(f"{shard.name} holds other frames than it was made from")
        except (CorruptShard, PlanMismatch) as error:
            self._add(entry.rows.path, error)

    def _is_current(self, entry: Entry) -> bool:
        try:
            return self.manifest.entry(entry.shard) == entry
        except (CorruptShard, UnreadableFile):
            return True

    def _files(self, folder: Path, ending: str) -> list[Path]:
        """Files below a folder; a folder that cannot be listed is a problem."""

        def add(folder: Path, error: UnreadableFile) -> None:
            name = str(folder.relative_to(self.root))
            if name not in {problem.path for problem in self.report.problems}:
                self._add(name, error)

        return list(files_below(folder, ending, add))

    def _add(self, path: str, error: Exception) -> None:
        self.report.problems.append(Problem(path=path, message=str(error)))


def _num_uncontrolled(manifest: Manifest, file: ShardFile) -> int:
    """Number of rows of a checked file whose `controlled` is false."""
    return manifest.reader(file).scan(["controlled"]).column(0).to_pylist().count(False)


def _names(entry: Entry | None, path: str) -> bool:
    return entry is not None and path in [f.path for f in (entry.rows, entry.quarantine) if f]


def _is_since(entry: Entry, since: datetime | None) -> bool:
    """Whether a shard was committed since then; an unreadable time counts as new."""
    if since is None:
        return True
    try:
        when = datetime.fromisoformat(entry.created_at)
    except ValueError:
        return True
    return (when if when.tzinfo else when.replace(tzinfo=UTC)) >= since


def _choose(entries: list[Entry], share: float, rng: random.Random) -> set[str]:
    """Names of a random share of the shards, at least one."""
    names = [entry.shard.name for entry in entries]
    if share >= 1.0 or not names:
        return set(names)
    return set(rng.sample(names, max(1, round(share * len(names)))))
