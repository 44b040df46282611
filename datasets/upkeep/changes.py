"""Changes to committed shards: the manifest entry first, then its files.

Killed in between, a change leaves files without an entry, which readers ignore and
`nightrain repair` handles. A reader that opened a file before keeps it until it closes it; one that
read the manifest before, but not the file, gets CorruptShard ("the file is missing").
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.atomic import (
    fsync,
    no_space_is_disk_full,
    replace_file,
    require_writable,
)
from nightrain.datasets.io.record import record_bytes
from nightrain.datasets.shards.leases import live_leases
from nightrain.datasets.shards.manifest import Entry, Manifest, Shard


def require_idle(root: Path) -> None:
    """Raise InvalidRequest while a live process holds a lease on a shard of the dataset."""
    held = [(name.replace("~", "/"), who) for name, who in live_leases(root).items()]
    if held:
        (shard, who), others = held[0], len(held) - 1
        raise InvalidRequest(
            f"{root} is in use: {shard}{f' and {others} more' if others else ''} is held by "
            f"{who.words}. Wait until it has ended, or stop it, and run the command again."
        )


def require_changeable(root: Path) -> None:
    """Raise InvalidRequest for a dataset that is in use, or on which nothing can be written."""
    require_idle(root)
    require_writable(root)


@contextmanager
def leased(manifest: Manifest, shard: Shard) -> Iterator[None]:
    """Hold a shard's lease for the block; raises InvalidRequest if another process holds it."""
    lease = manifest.lease(shard)
    if lease is None:
        raise InvalidRequest(
            f"Another process is making {shard.name}. Wait until it has ended, and run the command "
            "again; what is done is kept."
        )
    with lease:
        yield


def replace_entry(manifest: Manifest, entry: Entry) -> None:
    """Replace a shard's manifest entry: readers see the old or the new one; raises DiskFull."""
    data = record_bytes("entry", entry.model_dump(mode="json"))
    with no_space_is_disk_full(manifest.root):
        replace_file(manifest.root, manifest.entry_path(entry.shard), data)


def remove_shard(manifest: Manifest, shard: Shard, files: Iterable[str]) -> None:
    """Remove a shard's entry, and then its files, given relative to the root."""
    _remove(manifest.entry_path(shard))
    remove_files(manifest.root, files)


def remove_files(root: Path, files: Iterable[str]) -> None:
    """Remove files of any kind but folders, and folders that are empty without them."""
    for name in files:
        _remove(root / name)


def files_of(entry: Entry) -> list[str]:
    """Paths of a shard's files, relative to the root."""
    return [file.path for file in (entry.rows, entry.quarantine) if file is not None]


def _remove(path: Path) -> None:
    """Unlink a path durably; empty folders above it, up to the table's top, go with it."""
    with suppress(FileNotFoundError):
        path.unlink()
        fsync(path.parent)
    with suppress(OSError):  # not empty, or in use by another process
        os.rmdir(path.parent)
