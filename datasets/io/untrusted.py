"""Untrusted file names: names from a data set's tables never resolve to a path outside its root."""

import codecs
import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nightrain.datasets.errors import BrokenSource, DamagedInput, Reason

MAX_NAME_CHARS = 1024
MAX_COMPONENT_BYTES = 255
MAX_CHECKSUM_FILE_BYTES = 1 << 30
CHECKSUM_FILE = "SHA256SUMS"
MAX_LIDAR_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class LinkRule:
    """Where symlinks inside a data set's folder may lead, besides the folder itself.

    `roots` are resolved folders; with `anywhere`, every link is followed. Names from tables have no
    ".." in either case, so only a link that is on the disk leads out of the folder.
    """

    roots: tuple[Path, ...] = ()
    anywhere: bool = False

    def allows(self, path: Path, root: Path) -> bool:
        """Whether a resolved path is inside the root or where links may lead."""
        if self.anywhere:
            return path != root
        return any(path != base and path.is_relative_to(base) for base in (root, *self.roots))


NO_LINKS = LinkRule()


def safe_join(root: Path, relative: object, links: LinkRule = NO_LINKS) -> Path:
    """Return the absolute path of `relative` inside `root`, with symlinks followed.

    Raises DamagedInput(UNSAFE_PATH) for a name that is not text, is empty, absolute or too long,
    contains control characters or "..", or resolves to a path outside the root that `links` does
    not allow.
    """
    name = check_name(relative)
    try:
        top = root.resolve()
        path = (top / name).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop of symlinks
        raise _unsafe(name, f"cannot be resolved ({error})") from error
    if not links.allows(path, top):
        raise _outside(top, name, links)
    return path


def _outside(top: Path, name: str, links: LinkRule) -> DamagedInput:
    """Describe the first symlink on the way that leads where none may lead."""
    place = top
    for part in PurePosixPath(name).parts:
        place /= part
        if place.is_symlink() and not links.allows(place.resolve(), top):
            link = place.relative_to(top)
            return DamagedInput(
                Reason.UNSAFE_PATH,
                f"the file name {name!r:.120} resolves to a path outside the data set's folder "
                f"{top}: {link} is a symlink to {os.readlink(place)}. If you trust the "
                f"link, allow its target with `--allow-root {place.resolve()}`, or every link with "
                "`--follow-links`, where the command has these options; otherwise copy the files "
                "into the folder",
            )
    return _unsafe(name, "resolves to a path outside the data set's folder")


def check_name(relative: object) -> str:
    """Return a relative file name with slashes if it is safe; raises DamagedInput(UNSAFE_PATH).

    Tables and lists that were written on Windows separate folders by backslashes.
    """
    if not isinstance(relative, str):
        raise _unsafe(relative, f"is {type(relative).__name__}, not text")
    problem = _name_problem(relative)
    if problem:
        raise _unsafe(relative, problem)
    return relative.replace("\\", "/")


def read_bytes(root: Path, relative: object, max_bytes: int, links: LinkRule = NO_LINKS) -> bytes:
    """Read a regular file inside `root`; raises DamagedInput.

    The reason is UNSAFE_PATH for a path outside the root or not a regular file, else MISSING_FILE,
    EMPTY_FILE or TOO_LARGE. A FIFO or device is never opened for reading.
    """
    path = safe_join(root, relative, links)
    with os.fdopen(_open_regular(path, relative), "rb") as file:
        data = file.read(max_bytes + 1)
    if not data:
        raise DamagedInput(Reason.EMPTY_FILE, f"{relative} is empty; copy it from the original")
    if len(data) > max_bytes:
        raise DamagedInput(
            Reason.TOO_LARGE, f"{relative} is too long; expected at most {max_bytes} bytes"
        )
    return data


def decode_text(data: bytes) -> str:
    """Decode a text file: UTF-8, or UTF-16 with a byte order mark; line ends become newlines.

    Tools on Windows write byte order marks, UTF-16 and CRLF. Bytes that are not UTF-8 become
    U+FFFD, so a reader of numbers or names refuses them.
    """
    utf16 = len(data) > 2 and data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    text = data.decode("utf-16" if utf16 else "utf-8-sig", "replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


class Checksums:
    """SHA-256 checksums of an optional SHA256SUMS file at the root (the format of sha256sum).

    They detect a flipped bit that a JPEG or a point cloud decodes without an error. Raises
    BrokenSource if the file exists but cannot be read.
    """

    def __init__(self, root: Path, links: LinkRule = NO_LINKS) -> None:
        self._sums = _read_sums(root, links)

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
    """The files below a root, their expected checksums, and where links may lead."""

    root: Path
    sums: Checksums
    links: LinkRule = NO_LINKS

    @classmethod
    def below(cls, root: Path, links: LinkRule = NO_LINKS) -> "Files":
        """Return the files below a folder, with its SHA256SUMS; raises BrokenSource."""
        return cls(root.resolve(), Checksums(root, links), links)

    def path(self, name: object) -> Path:
        """Absolute path of the file or folder `name`, with links followed; raises DamagedInput."""
        return safe_join(self.root, name, self.links)

    def read(self, name: object, max_bytes: int) -> bytes:
        """Read the file `name`; raises DamagedInput."""
        data = read_bytes(self.root, name, max_bytes, self.links)
        self.sums.verify(check_name(name), data)
        return data

    def read_or_empty(self, name: object, max_bytes: int) -> bytes:
        """Read a file that may be empty, as that of a sensor without a return; raises DamagedInput.

        An empty file that has another checksum raises, too.
        """
        try:
            return self.read(name, max_bytes)
        except DamagedInput as error:
            if error.reason is Reason.EMPTY_FILE:
                self.sums.verify(check_name(name), b"")
                return b""
            raise

    def read_text(self, name: object, max_bytes: int) -> str:
        """Read and decode the text file `name`; raises DamagedInput."""
        return decode_text(self.read(name, max_bytes))


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
    """Open a resolved path; a symlink or another file put there since then is refused."""
    # O_NONBLOCK: opening a FIFO would wait for its writer.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):  # opening a device can have side effects
            raise _unsafe(relative, "is not a regular file")
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise _unsafe(relative, "is not a regular file") from error
        raise DamagedInput(
            Reason.MISSING_FILE,
            f"{relative} cannot be opened below the data set's folder: {error.strerror}",
        ) from error
    if _path_of(descriptor, path) != path or not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _unsafe(relative, "was replaced while it was opened")
    return descriptor


def _path_of(descriptor: int, path: Path) -> Path:
    """Path that an open file has now: a folder above it may have become a symlink."""
    try:
        return Path(os.readlink(f"/proc/self/fd/{descriptor}"))
    except OSError:  # a system without /proc
        return path.resolve()


def _read_sums(root: Path, links: LinkRule) -> dict[str, bytes]:
    if not os.path.lexists(root / CHECKSUM_FILE):
        return {}
    try:
        text = decode_text(read_bytes(root, CHECKSUM_FILE, MAX_CHECKSUM_FILE_BYTES, links))
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
    return os.path.normpath(name.replace("\\", "/")), bytes.fromhex(digest)


def _unsafe(name: object, problem: str) -> DamagedInput:
    shown = repr(name)[:120]
    return DamagedInput(
        Reason.UNSAFE_PATH,
        f"the file name {shown} {problem}; expected a relative name inside the data set's folder",
    )
