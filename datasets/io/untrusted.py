"""Files of a data set whose tables nobody vouches for: nothing outside its root is ever opened."""

import errno
import hashlib
import os
import stat
from pathlib import Path

from nightrain.datasets.errors import BrokenSource, DamagedInput, Reason

MAX_NAME_CHARS = 1024
MAX_COMPONENT_BYTES = 255
MAX_CHECKSUM_FILE_BYTES = 1 << 30
CHECKSUM_FILE = "SHA256SUMS"


def safe_join(root: Path, relative: object) -> Path:
    """Absolute path of `relative` inside `root`, symlinks followed; raises DamagedInput.

    InvalidRequest as UNSAFE_PATH: what is no text, empty, absolute, too long, holds NUL, control
    characters or "..", cannot be a file name, or resolves to a place outside the root.
    """
    name = check_name(relative)
    try:
        base = root.resolve()
        path = (base / name).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop of symlinks
        raise _unsafe(name, f"cannot be resolved ({error})") from error
    if path == base or not path.is_relative_to(base):
        raise _unsafe(name, "leads out of the data set's folder")
    return path


def check_name(relative: object) -> str:
    """Check a relative file name by its letters alone; raises DamagedInput(UNSAFE_PATH)."""
    if not isinstance(relative, str):
        raise _unsafe(relative, f"is {type(relative).__name__}, not text")
    problem = _name_problem(relative)
    if problem:
        raise _unsafe(relative, problem)
    return relative


def read_bytes(root: Path, relative: object, max_bytes: int) -> bytes:
    """Read a regular file inside `root`; raises DamagedInput.

    UNSAFE_PATH for what leaves the root or is no regular file, else MISSING_FILE, EMPTY_FILE or
    TOO_LARGE. A FIFO or device is never waited for.
    """
    path = safe_join(root, relative)
    with os.fdopen(_open_regular(path, relative), "rb") as file:
        data = file.read(max_bytes + 1)
    if not data:
        raise DamagedInput(Reason.EMPTY_FILE, f"{relative} is empty; copy it from the original")
    if len(data) > max_bytes:
        raise DamagedInput(
            Reason.TOO_LARGE, f"{relative} is longer than the {max_bytes} bytes that are read"
        )
    return data


class Checksums:
    """The SHA-256 sums of an optional SHA256SUMS file at the root (the format of sha256sum).

    A flipped bit inside a JPEG or a point cloud can decode without complaint; this finds it.
    Raises BrokenSource where the file is there and unreadable.
    """

    def __init__(self, root: Path) -> None:
        self._sums = _read_sums(root)

    def __len__(self) -> int:
        return len(self._sums)

    def verify(self, relative: str, data: bytes) -> None:
        """Compare the bytes of a file with its sum, where it has one; raises DamagedInput."""
        expected = self._sums.get(os.path.normpath(relative))
        if expected is not None and hashlib.sha256(data).digest() != expected:
            raise DamagedInput(
                Reason.CHECKSUM_MISMATCH,
                f"{relative}: its SHA-256 is not the one in {CHECKSUM_FILE}; copy it from the "
                "original, or correct the list",
            )


def _name_problem(name: str) -> str:
    if not name.strip():
        return "is empty"
    if any(ord(c) < 32 or ord(c) == 127 for c in name):
        return "holds a control character"
    try:
        longest = max(len(part.encode()) for part in name.split("/"))
    except UnicodeEncodeError:
        return "is no valid Unicode"
    if len(name) > MAX_NAME_CHARS or longest > MAX_COMPONENT_BYTES:
        return "is too long"
    if name.startswith(("/", "~")) or ".." in name.replace("\\", "/").split("/"):
        return "is absolute or climbs up"
    return ""


def _open_regular(path: Path, relative: object) -> int:
    # O_NONBLOCK: opening a FIFO would wait for its writer. O_NOFOLLOW: the path is resolved, so a
    # symlink in its last place was put there after the check.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):  # opening a device can already act on it
            raise _unsafe(relative, "is no regular file")
        return os.open(path, flags)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise _unsafe(relative, "is no regular file") from error
        raise DamagedInput(
            Reason.MISSING_FILE,
            f"{relative} cannot be opened below the data set's folder: {error.strerror}",
        ) from error


def _read_sums(root: Path) -> dict[str, bytes]:
    if not os.path.lexists(root / CHECKSUM_FILE):
        return {}
    try:
        text = read_bytes(root, CHECKSUM_FILE, MAX_CHECKSUM_FILE_BYTES).decode()
        return dict(_parse_sum(line) for line in text.splitlines() if line.strip())
    except (DamagedInput, ValueError) as error:
        raise BrokenSource(
            f"{CHECKSUM_FILE} is there but not readable ({error}); write it again with "
            f"`find . -type f ! -name {CHECKSUM_FILE} -exec sha256sum {{}} + > {CHECKSUM_FILE}`"
        ) from error


def _parse_sum(line: str) -> tuple[str, bytes]:
    digest, name = line[:64], line[66:]
    if line[64:66] not in ("  ", " *") or not name:
        raise ValueError(f"expected '<64 hex digits>  <name>', found {line[:80]!r}")
    return os.path.normpath(name), bytes.fromhex(digest)


def _unsafe(name: object, problem: str) -> DamagedInput:
    shown = repr(name)[:120]
    return DamagedInput(
        Reason.UNSAFE_PATH,
        f"the file name {shown} {problem}; expected a relative name inside the data set's folder",
    )
