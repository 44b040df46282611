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
from nightrain.pipelines.runs.waiting import Waiting


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
        yield _wait(descriptor, device, give_up)
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


def _wait(descriptor: int, device: str, give_up: Callable[[], bool]) -> bool:
    waiting = Waiting(give_up)
    while not give_up():
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting.pause(lambda: f"for {device}, which {_holder(descriptor)} uses")
        else:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} since {time.strftime('%H:%M:%S')}".encode(), 0)
            return True
    return False


def _holder(descriptor: int) -> str:
    """The process that locked the device, and since when."""
    return f"process {os.pread(descriptor, 100, 0).decode(errors='replace') or 'of unknown number'}"
