"""One generating task at a time per GPU: a lock file that the kernel frees when its holder dies."""

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
    """Wait for a device and hold it within the block; False where `give_up` ended the wait.

    A device is a name that is the same in every process of this machine; an empty one has no lock.
    Processes and threads exclude each other, and so do two blocks of one thread: it is no re-entry.
    Raises InvalidRequest where the folder of the locks belongs to somebody else.
    """
    if not device:
        yield True
        return
    # Opened anew each time: flock belongs to the open file, so threads exclude each other too.
    descriptor = os.open(lock_path(device), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield _wait(descriptor, give_up)
    finally:
        os.close(descriptor)  # and the lock with it


def lock_path(device: str) -> Path:
    """The lock file of a device, below this user's folder for temporary files."""
    folder = Path(tempfile.gettempdir()) / f"nightrain-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
        raise InvalidRequest(
            f"{folder} holds the locks of this machine's GPUs and belongs to somebody else, or is "
            "no folder. Remove it, or set TMPDIR to a folder of your own for all runs."
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
