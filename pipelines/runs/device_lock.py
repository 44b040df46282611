"""Device lock: one generating process at a time per GPU; the kernel releases the lock file."""

import fcntl
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nightrain.datasets.errors import InvalidRequest

LOOK_AGAIN_SECONDS = 0.1


@contextmanager
def sole_use(device: str, give_up: Callable[[], bool] = lambda: False) -> Iterator[bool]:
    """Wait for a device and lock it within the block; yield False if `give_up` ended the wait.

    A device name is the same in every process on this machine; an empty name means no lock. The
    lock excludes other processes and threads, and is not re-entrant. Raises InvalidRequest if the
    locks' folder belongs to another user.
    """
    if not device:
        yield True
        return
    # Opened each time: flock belongs to the open file, so threads exclude each other too.
    descriptor = os.open(lock_path(device), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield _wait(descriptor, give_up)
    finally:
        os.close(descriptor)  # also releases the lock


def lock_path(device: str) -> Path:
    """Lock file of a device, below this user's folder for temporary files."""
    folder = Path(tempfile.gettempdir()) / f"nightrain-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
        raise InvalidRequest(
            f"{folder}, the folder of this machine's GPU locks, belongs to another user or is "
            "not a folder. Remove it, or set TMPDIR to a folder of your own for all runs."
        )
    return folder / f"gpu-{hashlib.sha256(device.encode()).hexdigest()[:16]}.lock"


def _wait(descriptor: int, give_up: Callable[[], bool]) -> bool:
    while not give_up():
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(LOOK_AGAIN_SECONDS)
    return False
