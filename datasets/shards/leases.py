"""Leases: prevent two processes from making the same shard, to save work.

Correctness does not depend on them: a shard is committed exactly once because its manifest entry is
created exclusively. A lease expires when its process on this machine has died, or when it has not
been renewed for LEASE_SECONDS.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

from nightrain.datasets.io.atomic import create_exclusively, temporary_path
from nightrain.datasets.io.process import Owner

LEASE_SECONDS = 600.0


class Lease:
    """A lease file that names its owner; its modification time is that of the last renewal."""

    def __init__(self, path: Path, owner: Owner) -> None:
        self.path, self.owner = path, owner

    @classmethod
    def take(cls, root: Path, name: str) -> "Lease | None":
        """Take the lease with this name; return None while a live process holds it."""
        path, owner = _lease_path(root, name), Owner.me()
        for _ in range(2):
            if create_exclusively(root, path, owner.token().encode()):
                return cls(path, owner)
            if not is_stale(path):
                return None
            _remove_stale(root, path)
        return None

    def renew(self) -> None:
        """Renew the lease, unless it expired and another process has taken it."""
        with suppress(FileNotFoundError):
            os.utime(self.path)

    def release(self) -> None:
        """Release the lease if this process still owns it."""
        with suppress(FileNotFoundError):
            if self.path.read_text() == self.owner.token():
                self.path.unlink()

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def is_held(root: Path, name: str) -> bool:
    """Whether a live process holds the lease with this name."""
    path = _lease_path(root, name)
    return path.exists() and not is_stale(path)


def is_stale(path: Path) -> bool:
    """Whether a lease has expired: its owner has died or has not renewed it in time."""
    try:
        owner = Owner.parse(path.read_text())
        age_seconds = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return True
    return not owner.alive() or age_seconds > LEASE_SECONDS


def remove_stale_leases(root: Path) -> list[Path]:
    """Remove expired leases; return their paths."""
    stale = [path for path in (root / "_leases").glob("*.lease") if is_stale(path)]
    for path in stale:
        _remove_stale(root, path)
    return stale


def _lease_path(root: Path, name: str) -> Path:
    return root / "_leases" / f"{name}.lease"


def _remove_stale(root: Path, path: Path) -> None:
    # Only one of several removers succeeds in renaming the file.
    grave = temporary_path(root)
    with suppress(FileNotFoundError):
        path.rename(grave)
        grave.unlink()
