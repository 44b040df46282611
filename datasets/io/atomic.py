"""Atomic files: a file appears with all its content, synced to the disk, or not at all."""

import errno
import math
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nightrain.datasets.errors import DiskFull, InvalidRequest, UnsuitableStorage
from nightrain.datasets.io.process import Owner, is_abandoned

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
CANNOT_SYNC_FOLDERS = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)
# FUSE and object-store mounts answer ENOSYS or EINVAL, some network file systems EPERM.
NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
DRAFT_MARK = ".draft-"  # before the owner in a draft's name
MAX_STEM_CHARS = 150  # of the name in a draft's name; a name has at most 255 bytes

_durable: set[Path] = set()  # folders that this process has synced into their parents


# Folders


def fsync(path: Path) -> None:
    """Sync a file or a folder to the disk; syncing a folder makes the names in it durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in CANNOT_SYNC_FOLDERS or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def make_folder(path: Path, root: Path | None = None) -> None:
    """Create a folder and its parents, and sync their names to the disk.

    Folders up to `root` are synced even if they exist, once per process: the process that created
    them may have died before it could.
    """
    path, root = path.absolute(), (root or path).absolute()
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    known = [folder for folder in (path, *path.parents) if folder.is_relative_to(root)]
    for folder in reversed(missing):
        _sync_name(folder)
    for folder in known:
        if folder not in _durable:
            _sync_name(folder)
            _durable.add(folder)


def _sync_name(folder: Path) -> None:
    with suppress(PermissionError):  # a parent that may be entered but not listed
        fsync(folder.parent)


# Files of a dataset


def temporary_path(root: Path, ending: str = "") -> Path:
    """Return a new path below DATASET/_tmp that names its owner, so that a sweep can remove it."""
    folder = root / "_tmp"
    make_folder(folder, root)
    return folder / f"{Owner.me().token()}.{uuid.uuid4().hex}{ending}"


def create_exclusively(root: Path, path: Path, data: bytes) -> bool:
    """Create a file of a dataset with all its content; return False if the file exists.

    The data is written to a temporary name, synced, and then linked to the final name, which
    fails if the name is taken: a reader sees the whole file or none.
    """
    make_folder(path.parent, root)
    temporary = temporary_path(root)
    try:
        _write(temporary, data)
        fsync(temporary)
        return link_exclusively(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def link_exclusively(source: Path, target: Path) -> bool:
    """Give a finished file its final name; return False if another file has it.

    Raises UnsuitableStorage on a file system without hard links.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        if not _is_same_file(source, target):
            return False
    except OSError as error:
        raise _explained(error, target) from error
    fsync(target.parent)
    return True


def replace_file(root: Path, path: Path, data: bytes) -> None:
    """Replace a file of a dataset: readers see the old or the new content, never a mixture."""
    make_folder(path.parent, root)
    _replace(temporary_path(root), path, lambda draft: _write(draft, data))


def _is_same_file(source: Path, target: Path) -> bool:
    """Whether the link exists already: NFS refuses a repeated request that it has served before."""
    try:
        return os.path.samefile(source, target)
    except FileNotFoundError:
        return False


def _explained(error: OSError, target: Path) -> OSError | UnsuitableStorage:
    if error.errno == errno.EXDEV:
        return UnsuitableStorage(
            f"{target.parent} is on another file system than the dataset's folder _tmp, so a "
            "commit cannot be exclusive. Keep the whole dataset on one file system, without "
            "symlinks or mounts inside it."
        )
    if error.errno in NO_HARD_LINKS:
        return UnsuitableStorage(
            f"{target.parent} is on a file system without hard links, so a commit cannot be "
            "exclusive. Move the dataset to a local or NFS file system."
        )
    return error


# Files outside a dataset


def write_whole(path: Path, content: str | bytes | Callable[[Path], object]) -> None:
    """Write a file outside a dataset: readers see the old or the new content, never a mixture.

    `content` is text, bytes, or a function that writes a file to the path it is given, which ends
    like the file's. Drafts that killed processes left of the file are removed.
    """
    make_folder(path.parent)
    sweep_drafts(path)
    write = content if callable(content) else lambda draft: _write(draft, _bytes(content))
    _replace(draft_path(path), path, write)


def draft_path(path: Path) -> Path:
    """Return a new hidden path next to `path` that names its owner and has the same ending."""
    name = f"{_draft_stem(path)}{Owner.me().token()}.{uuid.uuid4().hex[:8]}{path.suffix}"
    return path.with_name(name)


def abandoned_drafts(path: Path) -> list[Path]:
    """Drafts of a file or folder that dead processes left."""
    stem = _draft_stem(path)
    found = [p for p in _children(path.parent) if p.name.startswith(stem)]
    return [p for p in found if is_abandoned(p, p.name.removeprefix(stem).partition(".")[0])]


def sweep_drafts(path: Path) -> None:
    """Remove the drafts of a file or folder that dead processes left."""
    for draft in abandoned_drafts(path):
        remove(draft)


def sweep_all_drafts(folder: Path) -> None:
    """Remove all drafts of dead processes directly in a folder; without one, nothing."""
    for draft in _children(folder):
        _, mark, rest = draft.name.rpartition(DRAFT_MARK)
        if mark and draft.name.startswith(".") and is_abandoned(draft, rest.partition(".")[0]):
            remove(draft)


def remove(path: Path) -> None:
    """Remove a file or a folder with all it holds, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _draft_stem(path: Path) -> str:
    return f".{path.name[:MAX_STEM_CHARS]}{DRAFT_MARK}"


def _children(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:  # a folder that may be written but not listed
        return []


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def _write(path: Path, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)


def _replace(draft: Path, path: Path, write: Callable[[Path], object]) -> None:
    try:
        write(draft)
        fsync(draft)
        os.replace(draft, path)
        fsync(path.parent)
    finally:
        draft.unlink(missing_ok=True)


# Space


@contextmanager
def no_space_is_disk_full(root: Path) -> Iterator[None]:
    """Raise DiskFull in place of an OSError for a full disk, a quota or a limit of file sizes."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise disk_full(root, error.errno) from error
        raise


@contextmanager
def unwritable_is_refused(root: Path) -> Iterator[None]:
    """Raise InvalidRequest in place of an OSError for a folder that cannot be written.

    Raises DiskFull in place of an OSError for a full disk.
    """
    try:
        with no_space_is_disk_full(root):
            yield
    except OSError as error:
        if error.errno in READ_ONLY:
            raise InvalidRequest(
                f"{root} cannot be written ({error.strerror}). It can still be read; to add to it, "
                "make the folder writable, or write to another one."
            ) from error
        raise


def require_writable(root: Path) -> None:
    """Raise InvalidRequest unless files can be created in a dataset's folder; raises DiskFull."""
    with unwritable_is_refused(root):
        path = temporary_path(root)
        path.touch()
        path.unlink()


def free_bytes(root: Path) -> int:
    """Free bytes on the file system of a folder, which need not exist yet."""
    return shutil.disk_usage(_existing(root)).free


def require_free(root: Path, num_bytes: int) -> None:
    """Raise DiskFull before starting work if its results would not fit on the disk."""
    if free_bytes(root) < num_bytes:
        raise disk_full(root, expected_bytes=num_bytes)


def disk_full(root: Path, number: int = errno.ENOSPC, expected_bytes: int = 0) -> DiskFull:
    """Return the error for a full disk; `number` is that of the system's error."""
    free = f"{free_bytes(root) / 1e6:.0f} MB free"
    if expected_bytes:
        free += f"; expected at least {math.ceil(expected_bytes / 1e6)} MB"
    elif os.statvfs(_existing(root)).f_favail == 0:
        free += ", but no inode: it holds too many files"
    found = {
        errno.EDQUOT: f"Your disk quota is used up for {root}",
        errno.EFBIG: f"A file below {root} exceeds the limit of file sizes (see `ulimit -f`)",
    }.get(number, f"No space is left for {root}: {free}")
    return DiskFull(
        f"{found}. Committed data is complete, and no partial file was kept. Free some space and "
        "run the same command again."
    )


def _existing(path: Path) -> Path:
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.exists())
