"""Regular files and complete listings: nothing unreadable is taken for missing.

Opening a FIFO waits for its writer, and a device may never end; neither is opened here. pathlib's
`glob` and `rglob` skip folders that cannot be listed; these functions raise UnreadableFile.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from io import BufferedReader
from pathlib import Path

from nightrain.datasets.errors import UnreadableFile

MAX_BYTES, CHUNK_BYTES = 1 << 30, 1 << 20


def open_regular(path: Path | str) -> BufferedReader:
    """Open a regular file for reading; symlinks are followed.

    Raises FileNotFoundError, and UnreadableFile for another kind of file or without permission.
    """
    descriptor, _ = _open(path)
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path | str, max_bytes: int = MAX_BYTES) -> bytes:
    """Read a regular file whole; raises FileNotFoundError, UnreadableFile."""
    descriptor, num_bytes = _open(path)
    try:  # a file object, or a buffer for `max_bytes`, costs more than reading a small file
        data = os.read(descriptor, min(num_bytes, max_bytes) + 1)
        while len(data) <= max_bytes and (more := os.read(descriptor, CHUNK_BYTES)):
            data += more
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)
    if len(data) > max_bytes:
        raise UnreadableFile(f"{path} has too many bytes; expected at most {max_bytes}")
    return data


def _open(path: Path | str) -> tuple[int, int]:
    """Open a regular file; return its descriptor and its size in bytes."""
    try:
        _require_regular(path, os.stat(path))  # before opening, which can affect a device
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        if os.path.lexists(path):
            raise UnreadableFile(f"{path} is a symbolic link to a missing file") from error
        raise FileNotFoundError(errno.ENOENT, "No such file", str(path)) from error
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read: {error.strerror}") from error
    status = os.fstat(descriptor)
    try:
        _require_regular(path, status)
    except UnreadableFile:
        os.close(descriptor)
        raise
    return descriptor, status.st_size


def sha256_of(path: Path) -> str:
    """SHA-256 of a regular file, 64 hex digits; raises FileNotFoundError, UnreadableFile."""
    with open_regular(path) as file:
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise UnreadableFile(f"{path} cannot be read: {error.strerror}") from error


def files_below(
    folder: Path,
    ending: str = "",
    on_error: Callable[[Path, UnreadableFile], None] | None = None,
) -> Iterator[Path]:
    """Yield every name below a folder, of any kind but a folder, that ends with `ending`, sorted.

    A missing folder has none; folders that are symlinks are not entered. A folder that cannot be
    listed is given to `on_error` and left out; without one, raises UnreadableFile.
    """
    return map(Path, names_below(str(folder), ending, on_error))


def names_below(
    folder: str, ending: str = "", on_error: Callable[[Path, UnreadableFile], None] | None = None
) -> Iterator[str]:
    """Yield the paths of `files_below` as text, which is several times faster."""
    try:
        found = _listing(Path(folder))
    except UnreadableFile as error:
        if on_error is None:
            raise
        on_error(Path(folder), error)
        return
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            yield from names_below(entry.path, ending, on_error)
        elif entry.name.endswith(ending):
            yield entry.path


def names_in(folder: str, ending: str = "") -> list[str]:
    """Paths directly in a folder, of any kind, that end with `ending`; raises UnreadableFile."""
    return [entry.path for entry in _listing(Path(folder)) if entry.name.endswith(ending)]


def matching(folder: Path, pattern: str) -> list[Path]:
    """Paths directly in a folder whose names match a pattern, sorted; raises UnreadableFile.

    A missing folder has none.
    """
    return [Path(e.path) for e in _listing(folder) if fnmatchcase(e.name, pattern)]


def kind_of(path: Path) -> str:
    """Kind of file in words: "a FIFO", "a symbolic link"; raises FileNotFoundError."""
    mode = os.lstat(path).st_mode
    return next((words for test, words in _KINDS if test(mode)), "a file of unknown kind")


def _listing(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UnreadableFile(
            f"{folder} cannot be listed: {error.strerror}. Check its permissions and its disk."
        ) from error


def _require_regular(path: Path | str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = next((words for test, words in _KINDS if test(status.st_mode)), "another kind")
        raise UnreadableFile(f"{path} is {kind}; expected a regular file")


_KINDS = (
    (stat.S_ISREG, "a regular file"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
