"""Leases on shards: they save double work and nothing more.

Exactly-once comes from the exclusive creation of the manifest entry. A lease lapses at once when
its process on this machine is dead, and otherwise when it was not renewed for LEASE_SECONDS.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

from nightrain.datasets.io.atomic import create_exclusively, temporary_path
from nightrain.datasets.io.process import Owner

LEASE_SECONDS = 600.0


class Lease:
    """A lease file that names its owner; its modification time is the last sign of life."""

    def __init__(self, path: Path, owner: Owner) -> None:
        self.path, self.owner = path, owner

    @classmethod
    def take(cls, root: Path, name: str) -> "Lease | None":
        """Take the lease of a name, or None while somebody living holds it."""
        path, owner = _lease_path(root, name), Owner.me()
        for _ in range(2):
            if create_exclusively(root, path, owner.token().encode()):
                return cls(path, owner)
            if not is_stale(path):
                return None
            _remove_stale(root, path)
        return None

    def renew(self) -> None:
        """Say that the work goes on; a lease that was taken over stays taken."""
        with suppress(FileNotFoundError):
            os.utime(self.path)

    def release(self) -> None:
        """Give the lease back if it is still ours."""
        with suppress(FileNotFoundError):
            if self.path.read_text() == self.owner.token():
                self.path.unlink()

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def is_held(root: Path, name: str) -> bool:
    """Whether somebody living holds the lease of a name."""
    path = _lease_path(root, name)
    return path.exists() and not is_stale(path)


def is_stale(path: Path) -> bool:
    """Whether a lease's owner is known to be dead, or gave no sign of life for too long."""
    try:
        owner = Owner.parse(path.read_text())
        age_seconds = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return True
    return not owner.alive() or age_seconds > LEASE_SECONDS


def remove_stale_leases(root: Path) -> list[Path]:
    """Remove the leases of dead owners; returns them."""
    stale = [path for path in (root / "_leases").glob("*.lease") if is_stale(path)]
    for path in stale:
        _remove_stale(root, path)
    return stale


def _lease_path(root: Path, name: str) -> Path:
    return root / "_leases" / f"{name}.lease"


def _remove_stale(root: Path, path: Path) -> None:
    # Renaming first makes one of several removers the only one.
    grave = temporary_path(root)
    with suppress(FileNotFoundError):
        path.rename(grave)
        grave.unlink()
