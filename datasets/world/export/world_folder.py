"""World folder on disk: scenes are committed one by one, and the tables are written last.

    OUT/_scenes/world.json   the settings and scenes of an unfinished world
    OUT/_scenes/NAME/        a committed scene: record.json, and its files until the tables exist
    OUT/_scenes/.NAME/       a scene in progress; removed by the run that starts it or by the next
    OUT/failed_scenes.json   scenes that could not be rendered, with the reason, if there are any
    OUT/v1.0-world/          the tables; they appear when every scene was rendered or has failed

A scene is committed by renaming its folder, so a kill at any moment loses at most the scenes in
progress. `_scenes` is removed when no scene is missing.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nightrain.datasets.errors import CorruptShard, InvalidRequest, UnreadableFile
from nightrain.datasets.io.atomic import fsync, no_space_is_disk_full
from nightrain.datasets.io.record import read_record, record_bytes
from nightrain.datasets.io.regular import matching
from nightrain.datasets.io.untrusted import CHECKSUM_FILE
from nightrain.datasets.sources.nuscenes.config import UNFINISHED_WORLD, WORLD_VERSION
from nightrain.datasets.world.export.folder import Folder
from nightrain.datasets.world.export.nuscenes_tables import Record

WORLD_FILE = "world.json"
RECORD_FILE = "record.json"
FAILED_FILE = "failed_scenes.json"
Tables = Mapping[str, Sequence[Record]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedScene:
    """Scene that could not be rendered, and why."""

    name: str
    place: int
    condition: str
    error: str  # "IndexError: ..."
    where: str  # file and line


@dataclass(frozen=True, slots=True)
class SceneRecord:
    """Record of a committed scene: its records by table, and digest and bytes of its files."""

    tables: dict[str, list[Record]]
    files: dict[str, tuple[str, int]]


class WorldFolder:
    """An open world folder, which no other process writes to."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._scenes = out / UNFINISHED_WORLD

    def is_committed(self, name: str) -> bool:
        """Whether a scene is committed with an intact record; another one is rendered again."""
        with suppress(FileNotFoundError, CorruptShard):
            self.record(name)
            return True
        return False

    def commit(self, name: str, write: Callable[[Folder], Tables]) -> None:
        """Write a scene's files with `write`, and commit them with the records that it returns."""
        growing = self._scenes / f".{name}"
        shutil.rmtree(growing, ignore_errors=True)
        shutil.rmtree(self._scenes / name, ignore_errors=True)  # its record is damaged
        folder = Folder(growing)
        record = {"tables": write(folder), "files": folder.files}
        (growing / RECORD_FILE).write_bytes(record_bytes("scene", record))
        folder.sync()
        os.rename(growing, self._scenes / name)
        fsync(self._scenes)

    def discard(self, name: str = "*") -> None:
        """Remove the files of scenes in progress, of this process or of one that was killed."""
        for path in matching(self._scenes, f".{name}"):
            shutil.rmtree(path, ignore_errors=True)

    def record(self, name: str) -> SceneRecord:
        """Read the record of a committed scene; raises FileNotFoundError, CorruptShard."""
        found = read_record(self._scenes / name / RECORD_FILE, "scene", "record of a scene")
        return SceneRecord(found["tables"], {k: tuple(v) for k, v in found["files"].items()})

    def table(self, name: str) -> list[Record]:
        """Read a table of the world; empty before the tables are written.

        Raises InvalidRequest for a damaged table.
        """
        path = self.out / WORLD_VERSION / f"{name}.json"
        try:
            return json.loads(path.read_text()) if path.is_file() else []
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(
                f"{path} is not a valid table: {error}. Restore it from a copy, or render the "
                "world into a new folder."
            ) from error

    def num_bytes(self) -> tuple[int, int]:
        """Number of files with a checksum, and their bytes."""
        names = [line[66:] for line in (self.out / CHECKSUM_FILE).read_text().splitlines()]
        return len(names), sum((self.out / name).stat().st_size for name in names)

    def finish(self, tables: Mapping[str, object], records: Mapping[str, SceneRecord]) -> None:
        """Move the files of scenes to their places, and write checksums and tables.

        `records` are those of all committed scenes, by name. Readers find no tables until this is
        done; the next run repeats an interrupted call.
        """
        if (self.out / WORLD_VERSION).is_dir():  # scenes that had failed are added
            shutil.rmtree(self._scenes / ".old", ignore_errors=True)
            os.rename(self.out / WORLD_VERSION, self._scenes / ".old")
        for name, record in records.items():
            _move(self._scenes / name, self.out, record.files)
        new = Folder(self._scenes / ".tables")
        for name, content in tables.items():
            new.write(f"{WORLD_VERSION}/{name}.json", json.dumps(content, indent=0).encode())
        new.sync()
        self._write_sums([new.files, *(record.files for record in records.values())])
        os.rename(new.root / WORLD_VERSION, self.out / WORLD_VERSION)
        fsync(self.out)

    def close(self, failed: Sequence[FailedScene]) -> None:
        """List the scenes that failed; without any, remove the records of the committed ones."""
        if failed:
            listed = [asdict(scene) for scene in failed]
            self.put(FAILED_FILE, json.dumps(listed, indent=2) + "\n")
            return
        (self.out / FAILED_FILE).unlink(missing_ok=True)
        for path in matching(self._scenes, "*"):
            if path.is_dir():
                shutil.rmtree(path)
        shutil.rmtree(self._scenes, ignore_errors=True)  # world.json last: until then it is ours

    def put(self, name: str, text: str) -> None:
        """Replace a file of the world: readers see the old or the new text."""
        draft = self._scenes / f".{Path(name).name}"
        with open(draft, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, self.out / name)
        fsync(self.out)

    def _write_sums(self, parts: Sequence[Mapping[str, tuple[str, int]]]) -> None:
        """Write SHA256SUMS in the format of the command sha256sum, sorted by path."""
        files = {name: digest for part in parts for name, (digest, _) in part.items()}
        self.put(CHECKSUM_FILE, "".join(f"{files[name]}  {name}\n" for name in sorted(files)))


def _move(source: Path, out: Path, names: Iterable[str]) -> None:
    """Move files that have not been moved by an interrupted run."""
    folders = set()
    for name in names:
        if (source / name).exists():
            target = out / name
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(source / name, target)
            folders.add(target.parent)
    for folder in folders:
        fsync(folder)


@contextmanager
def open_world(
    out: Path, description: Mapping[str, Any], is_finished: Callable[[WorldFolder], bool]
) -> Iterator[WorldFolder]:
    """Open the folder of a world that is new, unfinished or, by `is_finished`, complete.

    Raises InvalidRequest for a folder that holds something else, or that another process writes to;
    DiskFull.
    """
    world = WorldFolder(out)
    if not _is_new(out, description) and is_finished(world):
        yield world
        return
    _refuse_other_files(out)
    with no_space_is_disk_full(out.parent):
        (out / UNFINISHED_WORLD).mkdir(parents=True, exist_ok=True)
        with _locked(out):
            world.discard()
            if not (out / UNFINISHED_WORLD / WORLD_FILE).exists():
                text = record_bytes("world", description).decode()
                world.put(f"{UNFINISHED_WORLD}/{WORLD_FILE}", text)
            try:
                yield world
            finally:
                world.discard()


def _is_new(out: Path, description: Mapping[str, Any]) -> bool:
    """Whether the folder is absent or empty; raises InvalidRequest for another world's."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise InvalidRequest(
            f"{out} is not a folder; a world needs a new or an empty folder: name another"
        )
    if (path := out / UNFINISHED_WORLD / WORLD_FILE).is_file():
        _check_same(path, description)
    return not out.is_dir() or not any(out.iterdir())


def _refuse_other_files(out: Path) -> None:
    found = sorted(p.name for p in out.iterdir()) if out.is_dir() else []
    ours = (out / UNFINISHED_WORLD / WORLD_FILE).is_file() or found == [UNFINISHED_WORLD]
    if found and not ours:
        raise InvalidRequest(
            f"{out} already holds {len(found)} entries ({', '.join(found[:3])}, ...); a world is "
            "written into a new or an empty folder: remove it or name another"
        )


def _check_same(path: Path, description: Mapping[str, Any]) -> None:
    """Compare an unfinished world with a description; raises InvalidRequest if they differ."""
    out = path.parent.parent
    try:
        found = read_record(path, "world", "description of a world")
        differing = [name for name in description if found[name] != description[name]]
    except (CorruptShard, UnreadableFile, KeyError, TypeError) as error:
        raise InvalidRequest(f"{error}; remove {out} or name a new or an empty folder") from error
    if differing:
        pairs = ((name, _short(found[name]), _short(description[name])) for name in differing)
        words = "; ".join(f"{name} {was}, not {now}" for name, was, now in pairs)
        raise InvalidRequest(
            f"{out} holds another world, which is unfinished ({words}). Use the options of that "
            "world to resume it, or name a new or an empty folder"
        )


def _short(value: object) -> str:
    return f"of {len(value)}" if isinstance(value, list) and len(str(value)) > 60 else str(value)


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Exclude other processes; the kernel releases the lock of a process that ends."""
    descriptor = os.open(out, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise InvalidRequest(
            f"another process is rendering {out}; wait for it to end, or name another folder"
        ) from None
    except OSError:  # some network file systems lock no folders
        pass
    try:
        yield
    finally:
        os.close(descriptor)
