"""Digests of large files, computed once: later processes find them in the user's cache.

    $XDG_CACHE_HOME/nightrain/digests/<device>-<inode>-<bytes>-<modified>-<changed>    SHA-256

The system sets the time of the last change of a file, so a file that was changed has another name
in the cache.
"""

import hashlib
import os
import re
import time
from contextlib import suppress
from pathlib import Path

from nightrain.datasets.io.atomic import write_whole

LEAST_BYTES = 1 << 20  # smaller files are read each time
SETTLED_SECONDS = 2.0  # after the last change; a later one may get the same time
SHA256 = re.compile(r"[0-9a-f]{64}")


def file_digest(path: Path) -> str:
    """SHA-256 of a file: 64 hex digits; raises OSError."""
    about = os.stat(path)
    if about.st_size < LEAST_BYTES:
        return _sha256(path)
    cached = _cache_folder() / (
        f"{about.st_dev}-{about.st_ino}-{about.st_size}-{about.st_mtime_ns}-{about.st_ctime_ns}"
    )
    with suppress(OSError, ValueError):
        if SHA256.fullmatch(found := cached.read_text()):
            return found
    found = _sha256(path)
    if time.time() - max(about.st_mtime, about.st_ctime) > SETTLED_SECONDS:
        with suppress(OSError):
            write_whole(cached, found)
    return found


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cache_folder() -> Path:
    top = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(top) / "nightrain" / "digests"
