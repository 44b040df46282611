"""Untrusted file names: names from a data set's tables never resolve to a path outside its root."""

import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from nightrain.datasets.errors import BrokenSource, DamagedInput, Reason

MAX_NAME_CHARS = 1024
MAX_COMPONENT_BYTES = 255
MAX_CHECKSUM_FILE_BYTES = 1 << 30
CHECKSUM_FILE = "SHA256SUMS"
MAX_LIDAR_BYTES = 64 << 20


def safe_join(root: Path, relative: object) -> Path:
    """Return the absolute path of `relative` inside `root`, with symlinks followed.

    Raises DamagedInput(UNSAFE_PATH) for a name that is not text, is empty, absolute or too long,
    contains control characters or "..", or resolves to a path outside the root.
    """
    name = check_name(relative)
    try:
        base = root.resolve()
        path = (base / name).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop of symlinks
        raise _unsafe(name, f"cannot be resolved ({error})") from error
    if path == base or not path.is_relative_to(base):
        raise _unsafe(name, "resolves to a path outside the data set's folder")
    return path


def check_name(relative: object) -> str:
    """Return a relative file name if it is safe; raises DamagedInput(UNSAFE_PATH)."""
    if not isinstance(relative, str):
        raise _unsafe(relative, f"is {type(relative).__name__}, not text")
    problem = _name_problem(relative)
    if problem:
        raise _unsafe(relative, problem)
    return relative


def read_bytes(root: Path, relative: object, max_bytes: int) -> bytes:
    """Read a regular file inside `root`; raises DamagedInput.

    The reason is UNSAFE_PATH for a path outside the root or not a regular file, else MISSING_FILE,
    EMPTY_FILE or TOO_LARGE. A FIFO or device is never opened for reading.
    """
    path = safe_join(root, relative)
    with os.fdopen(_open_regular(path, relative), "rb") as file:
        data = file.read(max_bytes + 1)
    if not data:
        raise DamagedInput(Reason.EMPTY_FILE, f"{relative} is empty; copy it from the original")
    if len(data) > max_bytes:
        raise DamagedInput(
            Reason.TOO_LARGE, f"{relative} is too long; expected at most {max_bytes} bytes"
        )
    return data


class Checksums:
    """SHA-256 checksums of an optional SHA256SUMS file at the root (the format of sha256sum).

    They detect a flipped bit that a JPEG or a point cloud decodes without an error. Raises
    BrokenSource if the file exists but cannot be read.
    """

    def __init__(self, root: Path) -> None:
        self._sums = _read_sums(root)

    def __len__(self) -> int:
        return len(self._sums)

    def verify(self, relative: str, data: bytes) -> None:
        """Compare the bytes of a file with its checksum, if it has one; raises DamagedInput."""
        expected = self._sums.get(os.path.normpath(relative))
        if expected is not None and hashlib.sha256(data).digest() != expected:
            raise DamagedInput(
                Reason.CHECKSUM_MISMATCH,
                f"{relative}: its SHA-256 differs from that in {CHECKSUM_FILE}; copy it from the "
                "original, or correct the list",
            )


@dataclass(frozen=True, slots=True)
class Files:
    """The files below a root, and their expected checksums."""

    root: Path
    sums: Checksums

    def read(self, name: object, max_bytes: int) -> bytes:
        """Read the file `name`; raises DamagedInput."""
        data = read_bytes(self.root, name, max_bytes)
        self.sums.verify(str(name), data)
        return data


def _name_problem(name: str) -> str:
    if not name.strip():
        return "is empty"
    if any(ord(c) < 32 or ord(c) == 127 for c in name):
        return "contains a control character"
    try:
        longest = max(len(part.encode()) for part in name.split("/"))
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if len(name) > MAX_NAME_CHARS or longest > MAX_COMPONENT_BYTES:
        return "is too long"
    if name.startswith(("/", "~")) or ".." in name.replace("\\", "/").split("/"):
        return "is absolute or contains '..'"
    return ""


def _open_regular(path: Path, relative: object) -> int:
    # O_NONBLOCK: opening a FIFO would wait for its writer. O_NOFOLLOW: the path is resolved, so a
    # symlink as its last component was created after the check.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):  # opening a device can have side effects
            raise _unsafe(relative, "is not a regular file")
        return os.open(path, flags)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise _unsafe(relative, "is not a regular file") from error
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
            f"{CHECKSUM_FILE} exists but cannot be read ({error}); write it again with "
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
