"""Manifest: the committed shards of a dataset, and the only way to commit one.

    DATASET/_manifest/<table>/NNNNN.json    one entry per committed shard, for all its files
    DATASET/_manifest/<name>.pinned         settings of a folder of tables; see pinned.py
    DATASET/<table>/NNNNN.parquet           its rows
    DATASET/quarantine/.../NNNNN.parquet    its rejected rows, if any
    DATASET/_tmp, _leases                   work in progress; readers ignore it

A shard is committed if and only if its manifest entry exists. Each shard is committed exactly once:

1. The data files are written to temporary names, synced, and linked to their final names. Linking
   fails if the name is taken, so no file is ever overwritten. Their folders are synced.
2. The entry is then created the same way. It holds the digests of the data files.

If several processes make the same shard, one of them creates the entry; the others read that entry
and drop their own files. If a process dies between the two steps, its data files belong to no
entry, and readers do not see them; the next commit of the shard uses such a file if every byte of
it is the same, and otherwise writes its own under another name.
"""

import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from nightrain.datasets.errors import CorruptShard, PlanMismatch, UnreadableFile
from nightrain.datasets.io.atomic import (
    create_exclusively,
    fsync,
    link_exclusively,
    make_folder,
    no_space_is_disk_full,
    temporary_path,
)
from nightrain.datasets.io.parsed_files import ParsedFiles, collector_paused
from nightrain.datasets.io.process import is_abandoned
from nightrain.datasets.io.record import read_record_text, record_bytes
from nightrain.datasets.io.regular import matching, names_below, names_in, sha256_of
from nightrain.datasets.shards.leases import Holder, Lease, holder, is_held, remove_stale_leases
from nightrain.datasets.shards.parquet import (
    ShardFile,
    ShardReader,
    ShardWriter,
    describe_shard,
)
from nightrain.datasets.shards.schema import SCHEMA_VERSION
from nightrain.datasets.validation import in_one_line

FRAMES = "frames"
CAPTIONS = "captions"
LABELS = "labels"
CONTROLS = "controls"
ROW_BY_ROW = (LABELS, CONTROLS)  # tables with one row per row of the frames, in the same order
DATA_FOLDERS = (FRAMES, CAPTIONS, *ROW_BY_ROW, "variants", "quarantine")
TABLE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*")


class Shard(BaseModel):
    """Name of a shard: its table, its planned number, and 0 or the number of the retry."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    table: str = Field(pattern=f"^{TABLE_NAME.pattern}$")  # "frames", "variants/<recipe>/night"
    number: int = Field(ge=0)
    retry: int = Field(default=0, ge=0)

    @property
    def stem(self) -> str:
        """File name without its ending: "00012", "00012-retry-01"."""
        return f"{self.number:05d}" + (f"-retry-{self.retry:02d}" if self.retry else "")

    @property
    def name(self) -> str:
        """Table and file name: "variants/weather-1a2b3c4d/night/00012"."""
        return f"{self.table}/{self.stem}"


class Entry(BaseModel):
    """A manifest entry: the files of a committed shard, with their digests and origin."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    shard: Shard
    rows: ShardFile
    quarantine: ShardFile | None = None
    about: dict[str, str] = {}  # recipe, split, condition, source
    counts: dict[str, int] = {}  # quarantined rows by reason
    seconds: float = 0.0
    created_at: str = ""
    schema_version: int

    @model_validator(mode="after")
    def _names_its_files(self) -> "Entry":
        """Require files in the shard's own folders, under its own name."""
        folders = {self.shard.table: self.rows, quarantine_table(self.shard.table): self.quarantine}
        for folder, file in folders.items():
            if file is None:
                continue
            found, _, name = file.path.rpartition("/")
            if found != folder or name.partition(".")[0] != self.shard.stem:
                raise ValueError(f"{file.path} is not a file of {folder}/{self.shard.stem}")
        return self


def quarantine_table(table: str) -> str:
    """Table of the rejected rows of a table: quarantine/<recipe>/<condition>, quarantine/frames."""
    return f"quarantine/{table.removeprefix('variants/')}"


def last_attempts(entries: Iterable[Entry]) -> list[Entry]:
    """Return the last attempt at each shard of a table, whose quarantine is the one that counts.

    `entries` are ordered by attempt, as `Manifest.entries` returns them.
    """
    return list({entry.shard.number: entry for entry in entries}.values())


_ENTRIES: ParsedFiles[Entry] = ParsedFiles(200_000)  # of any dataset; about 5 kB each


class Manifest:
    """The committed shards below a dataset's root."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self._folder = f"{self.root}/_manifest"

    # Reading

    def entries(self, table: str) -> list[Entry]:
        """Entries of the committed shards of a table, in order.

        Raises CorruptShard, UnreadableFile.
        """
        with collector_paused():
            names = names_in(f"{self._folder}/{table}", ".json")
            found = [self.entry_at(name) for name in names]
        entries = [entry for entry in found if entry is not None]  # None: removed since listed
        return sorted(entries, key=lambda entry: (entry.shard.number, entry.shard.retry))

    def tables(self, prefix: str = "") -> list[str]:
        """Names of the tables with at least one committed shard; raises UnreadableFile."""
        folders = {os.path.dirname(name) for name in names_below(self._folder, ".json")}
        found = {os.path.relpath(folder, self._folder) for folder in folders}
        return sorted(name for name in found if name.startswith(prefix) and name != ".")

    def entry(self, shard: Shard) -> Entry | None:
        """Manifest entry of a shard, or None if it is not committed.

        Raises CorruptShard, UnreadableFile.
        """
        return self.entry_at(self._entry_name(shard))

    def committed(self, shards: Iterable[Shard]) -> list[Entry]:
        """Entries of those shards that are committed; raises CorruptShard, UnreadableFile."""
        with collector_paused():
            found = [self.entry_at(self._entry_name(shard)) for shard in shards]
        return [entry for entry in found if entry is not None]

    def entry_at(self, name: str) -> Entry | None:
        """Entry in a file, read once per process while it does not change; None if it is gone.

        Raises CorruptShard, UnreadableFile, PlanMismatch.
        """
        try:
            return _ENTRIES.get(name, self.read_entry)
        except FileNotFoundError:
            return None

    def read_entry(self, path: Path | str) -> Entry:
        """Read a manifest entry; raises CorruptShard if it is damaged or in the wrong place.

        Raises FileNotFoundError, UnreadableFile, and PlanMismatch for another schema version.
        """
        entry = self.parse_entry(path)
        if entry.schema_version != SCHEMA_VERSION:
            raise PlanMismatch(
                f"{path} has schema version {entry.schema_version}; this nightrain reads version "
                f"{SCHEMA_VERSION}. Run `nightrain upgrade {self.root}`."
            )
        return entry

    def parse_entry(self, path: Path | str) -> Entry:
        """Read a manifest entry of this or an earlier schema version; otherwise as `read_entry`."""
        text = read_record_text(path, "entry", "manifest entry")
        try:
            entry = Entry.model_validate_json(text)
        except ValidationError as error:
            _require_known(path, _version_in(text))  # a newer version may have other fields
            found = in_one_line(error)
            raise CorruptShard(f"{path} is not a valid manifest entry: {found}") from error
        _require_known(path, entry.schema_version)
        if self._entry_name(entry.shard) != str(path):
            raise CorruptShard(f"{path} is not a valid manifest entry: it is {entry.shard.name}'s")
        return entry

    def reader(self, file: ShardFile, cached_groups: int = 2) -> ShardReader:
        """Return a reader of one file of an entry; it verifies everything that it reads."""
        return ShardReader(self.root, file, cached_groups)

    # Writing

    def lease(self, shard: Shard) -> Lease | None:
        """Take a shard's lease; return None while a live process holds it."""
        return Lease.take(self.root, _lease_name(shard))

    def is_leased(self, shard: Shard) -> bool:
        """Whether a live process holds a shard's lease."""
        return is_held(self.root, _lease_name(shard))

    def holder(self, shard: Shard) -> Holder | None:
        """Return the live process that holds a shard's lease, or None."""
        return holder(self.root, _lease_name(shard))

    @contextmanager
    def writer(self, table: str, schema: pa.Schema, info: dict[str, str]) -> Iterator[ShardWriter]:
        """Yield a writer to a temporary file, which is removed at the end of the block.

        Raises DiskFull.
        """
        with no_space_is_disk_full(self.root):
            path = temporary_path(self.root, ".parquet")
            writer = ShardWriter(path, schema, {"table": table, **info})
            try:
                yield writer
            finally:
                writer.abandon()

    def commit(
        self,
        shard: Shard,
        rows: ShardWriter,
        quarantine: ShardWriter | None = None,
        *,
        about: dict[str, str],
        counts: dict[str, int],
        seconds: float,
    ) -> Entry:
        """Commit finished files as one shard, exactly once; return the committed entry.

        If another process committed the shard first, its entry is returned and these files are
        dropped. Raises DiskFull.
        """
        with no_space_is_disk_full(self.root):
            files = {shard.table: rows}
            if quarantine is not None and quarantine.num_rows:
                files[quarantine_table(shard.table)] = quarantine
            placed = {table: self.place(table, shard, w) for table, w in files.items()}
            entry = Entry(
                shard=shard,
                rows=placed[shard.table],
                quarantine=placed.get(quarantine_table(shard.table)),
                about=about,
                counts=counts,
                seconds=round(seconds, 3),
                created_at=datetime.now(UTC).isoformat(timespec="seconds"),
                schema_version=SCHEMA_VERSION,
            )
            return self.create_entry(entry)

    def sweep(self) -> list[Path]:
        """Remove leftovers of dead processes; return the removed paths.

        Removes temporary files and leases of dead owners, and data files of a committed shard that
        its entry does not name. A data file of a shard without an entry stays, because its owner
        may be about to commit it; `commit` can use it.
        """
        stale = [
            path
            for path in matching(self.root / "_tmp", "*")
            if is_abandoned(path, path.name.partition(".")[0])
        ]
        found = self.data_files()  # first: an entry committed in between is read afterwards
        entries = [entry for table in self.tables() for entry in self.entries(table)]
        committed, known = {entry.shard.name for entry in entries}, _named(entries)
        unnamed = (name for name in found if name not in known)
        losers = [self.root / name for name in unnamed if _shard_name(name) in committed]
        for path in [*stale, *losers]:
            path.unlink(missing_ok=True)
        return [*stale, *losers, *remove_stale_leases(self.root)]

    def orphans(self) -> list[str]:
        """Data files, relative to the root, that no manifest entry names; readers ignore them."""
        found = self.data_files()  # first, as in `sweep`
        known = _named(e for table in self.tables() for e in self.entries(table))
        return [name for name in found if name not in known]

    def data_files(self) -> list[str]:
        """Paths of all data files, relative to the root, sorted; raises UnreadableFile."""
        tops = (names_below(f"{self.root}/{top}", ".parquet") for top in DATA_FOLDERS)
        skipped = len(f"{self.root}/")
        return sorted(name[skipped:] for names in tops for name in names)

    def place(self, table: str, shard: Shard, writer: ShardWriter) -> ShardFile:
        """Link a finished file to its final name; return the file to record in the entry."""
        make_folder(self.root / table, self.root)
        ours = describe_shard(writer.path, f"{table}/{shard.stem}.parquet")
        for name in _file_names(shard, ours.sha256):
            file = ours.model_copy(update={"path": f"{table}/{name}"})
            if link_exclusively(writer.path, self.root / file.path) or self._is_there(file):
                return file
        raise AssertionError("there is always another name")

    def _is_there(self, file: ShardFile) -> bool:
        """Whether exactly these bytes are under the file's name already.

        A process that died before its entry left them. Files with other bytes are never used, even
        if they seem to hold the same rows; a sweep removes them after the commit.
        """
        path = self.root / file.path
        try:
            same = sha256_of(path) == file.sha256
        except (FileNotFoundError, UnreadableFile):
            return False
        if same:
            fsync(path.parent)  # the other process may have died before its own fsync
        return same

    def create_entry(self, entry: Entry) -> Entry:
        """Create the entry of a shard unless it is committed; return the committed one."""
        data = record_bytes("entry", entry.model_dump(mode="json"))
        if create_exclusively(self.root, self.entry_path(entry.shard), data):
            return entry
        committed = self.read_entry(self.entry_path(entry.shard))
        kept = {f.path for f in (committed.rows, committed.quarantine) if f is not None}
        for file in (entry.rows, entry.quarantine):
            if file is not None and file.path not in kept:
                (self.root / file.path).unlink(missing_ok=True)
        return committed

    def entry_path(self, shard: Shard) -> Path:
        """Path of a shard's manifest entry."""
        return Path(self._entry_name(shard))

    def _entry_name(self, shard: Shard) -> str:
        return f"{self._folder}/{shard.name}.json"


def _version_in(text: bytes) -> int:
    """Schema version in the JSON text of an entry that may have other fields; 0 if unknown."""
    with suppress(ValueError, RecursionError):
        body = json.loads(text)
        version = body.get("schema_version") if isinstance(body, dict) else None
        return version if isinstance(version, int) else 0
    return 0


def _require_known(path: Path | str, schema_version: int) -> None:
    """Raise PlanMismatch for a schema version of a newer nightrain."""
    if schema_version > SCHEMA_VERSION:
        raise PlanMismatch(
            f"{path} has schema version {schema_version} of a newer nightrain; this one reads "
            f"version {SCHEMA_VERSION}. Install the newer one."
        )


def _file_names(shard: Shard, sha256: str) -> Iterator[str]:
    """Yield names for a shard's file: its own, then spare ones for when that is taken."""
    yield f"{shard.stem}.parquet"
    yield f"{shard.stem}.{sha256[:8]}.parquet"
    for number in itertools.count(1):
        yield f"{shard.stem}.{sha256[:8]}-{number}.parquet"


def _named(entries: Iterable[Entry]) -> set[str]:
    """Data files that entries name."""
    return {f.path for e in entries for f in (e.rows, e.quarantine) if f is not None}


def _lease_name(shard: Shard) -> str:
    return shard.name.replace("/", "~")


def _shard_name(data_file: str) -> str:
    shard = shard_of_file(data_file)
    return "" if shard is None else shard.name


def shard_of_file(data_file: str) -> Shard | None:
    """Return the shard of a data file's path relative to the root, or None for another path.

    "quarantine/r/night/00001-retry-02.parquet" belongs to retry 2 of variants/r/night/00001.
    """
    table, _, name = data_file.rpartition("/")
    if table.startswith("quarantine/"):
        rest = table.removeprefix("quarantine/")
        table = (
            rest if rest.split("/")[0] in (FRAMES, CAPTIONS, *ROW_BY_ROW) else f"variants/{rest}"
        )
    found = re.fullmatch(r"(\d{5,})(?:-retry-(\d{2,}))?", name.partition(".")[0])
    if found is None or not TABLE_NAME.fullmatch(table):
        return None
    return Shard(table=table, number=int(found[1]), retry=int(found[2] or 0))
