"""Leases: prevent two processes from making the same shard, to save work.

    DATASET/_leases/<name>.lease    owner, host name and time; modified at each sign of life

Correctness does not depend on them: a shard is committed exactly once because its manifest entry is
created exclusively. A lease is stale once its process or its boot has ended. Where that cannot be
seen, in another container or on another host, it is stale after SILENT_SECONDS without a sign of
life. Ages are differences of the file server's times, so clocks need not agree.
"""

import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from nightrain.datasets.io.atomic import create_exclusively, link_exclusively, temporary_path
from nightrain.datasets.io.process import Owner
from nightrain.datasets.io.regular import matching

BEAT_SECONDS = 5.0  # between two signs of life
SILENT_SECONDS = 45.0  # of an owner out of sight, after which its lease is stale
LEASE_SECONDS = 600.0  # the same of a process on this machine that exists: it may be suspended
STUCK_SECONDS = 3600.0  # without progress, after which an owner gives no more signs of life


@dataclass(frozen=True, slots=True)
class Holder:
    """Contents of a lease file: who holds it, where and since when, and its last sign of life."""

    owner: Owner
    host: str
    since: str
    renewed: float  # the file server's time of the last sign of life, in seconds

    @property
    def words(self) -> str:
        """Process, host and time: "process 4711 on fox since 2026-03-01 14:03:05 UTC"."""
        host = f" on {self.host}" if self.host else ""
        return f"process {self.owner.pid}{host}" + (f" since {self.since}" if self.since else "")

    def is_stale(self, root: Path) -> bool:
        """Whether the lease has expired, by the time of the server that holds a dataset."""
        alive = self.owner.alive()
        if alive is False:
            return True
        limit_seconds = LEASE_SECONDS if alive else SILENT_SECONDS
        return _server_time(root) - self.renewed > limit_seconds


class Lease:
    """A lease that this process holds; a thread gives signs of life until it is released."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self._text = path, text
        self._released = threading.Event()
        self._progress = time.monotonic()
        threading.Thread(target=self._beat, name=f"lease {path.stem}", daemon=True).start()

    @classmethod
    def take(cls, root: Path, name: str) -> "Lease | None":
        """Take the lease with this name; return None while a live process holds it."""
        path, text = _lease_path(root, name), _text()
        for _ in range(2):
            if create_exclusively(root, path, text.encode()):
                return cls(path, text)
            found = _read(path)
            if found is not None and not found.is_stale(root):
                return None
            _remove_stale(root, path, found)
        return None

    def renew(self) -> None:
        """Report progress; without any for STUCK_SECONDS, the signs of life end."""
        self._progress = time.monotonic()

    def release(self) -> None:
        """Release the lease if this process still owns it."""
        self._released.set()
        with suppress(FileNotFoundError):
            if self.path.read_text() == self._text:
                self.path.unlink()

    def _beat(self) -> None:
        while not self._released.wait(BEAT_SECONDS):
            if time.monotonic() - self._progress < STUCK_SECONDS:
                with suppress(OSError):  # a file server that is away for a moment
                    self._touch()

    def _touch(self) -> None:
        """Set the file's time to the server's, unless another process has taken the lease."""
        with open(self.path) as file:
            if file.read() == self._text:
                os.utime(file.fileno())

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def holder(root: Path, name: str) -> Holder | None:
    """Return the live process that holds the lease with this name, or None."""
    found = _read(_lease_path(root, name))
    return None if found is None or found.is_stale(root) else found


def is_held(root: Path, name: str) -> bool:
    """Whether a live process holds the lease with this name."""
    return holder(root, name) is not None


def held_by(root: Path, name: str) -> str:
    """Words for the holder of a lease that could not be taken, for a message."""
    found = holder(root, name)
    return found.words if found else "a process that has just ended"


def live_leases(root: Path) -> dict[str, Holder]:
    """Holders of all leases of live processes, by the lease's name; raises UnreadableFile."""
    paths = matching(root / "_leases", "*.lease")
    found = {path.stem: _read(path) for path in paths}
    return {name: who for name, who in found.items() if who and not who.is_stale(root)}


def remove_stale_leases(root: Path) -> list[Path]:
    """Remove expired leases; return their paths."""
    stale = []
    for path in matching(root / "_leases", "*.lease"):
        found = _read(path)
        if found is not None and found.is_stale(root):
            _remove_stale(root, path, found)
            stale.append(path)
    return stale


def _text() -> str:
    return (
        f"{Owner.me().token()}\n{socket.gethostname()}\n{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
    )


def _read(path: Path) -> Holder | None:
    try:
        with open(path, errors="replace") as file:  # opening also refreshes NFS's attributes
            lines = [*file.read(1000).splitlines(), "", "", ""]
            renewed = os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return None
    return Holder(Owner.parse(lines[0]), host=lines[1], since=lines[2], renewed=renewed)


def _server_time(root: Path) -> float:
    """Time of the server that holds a dataset: that of a file just written there."""
    try:
        probe = temporary_path(root, ".now")
        probe.write_bytes(b"now")
    except OSError:  # read-only: the clocks have to agree
        return time.time()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _lease_path(root: Path, name: str) -> Path:
    return root / "_leases" / f"{name}.lease"


def _remove_stale(root: Path, path: Path, stale: Holder | None) -> None:
    """Remove the lease that was found stale, but not one that was taken since."""
    grave = temporary_path(root)
    with suppress(FileNotFoundError):
        path.rename(grave)  # only one of several removers succeeds
        found = _read(grave)
        if stale and found and found.owner != stale.owner:
            link_exclusively(grave, path)
        grave.unlink()
