"""Atomic files: a file appears with all its content, synced to the disk, or not at all."""

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nightrain.datasets.errors import DiskFull, InvalidRequest, NightrainError
from nightrain.datasets.io.process import Owner

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


def fsync(path: Path) -> None:
    """Sync a file or a folder to the disk; syncing a folder makes the names in it durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_path(root: Path, ending: str = "") -> Path:
    """Return a new path below DATASET/_tmp that names its owner, so that a sweep can remove it."""
    folder = root / "_tmp"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{Owner.me().token()}.{uuid.uuid4().hex}{ending}"


def create_exclusively(root: Path, path: Path, data: bytes) -> bool:
    """Create a file of a dataset with all its content; return False if the file exists.

    The data is written to a temporary name, synced, and then linked to the final name, which
    fails if the name is taken: a reader sees the whole file or none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(root)
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return link_exclusively(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def link_exclusively(source: Path, target: Path) -> bool:
    """Give a finished file its final name; return False if the name is taken.

    Raises NightrainError on a file system without hard links.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP):
            raise NightrainError(
                f"{target.parent} is on a file system without hard links, so a commit cannot be "
                "exclusive. Move the dataset to a local or NFS file system."
            ) from error
        raise
    fsync(target.parent)
    return True


def replace_file(root: Path, path: Path, data: bytes) -> None:
    """Replace a file of a dataset: readers see the old or the new content, never a mixture."""
    _replace(temporary_path(root), path, data)


def write_whole(path: Path, text: str) -> None:
    """Write a file outside a dataset: readers see the old or the new text, never a mixture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(path.with_name(f".{path.name}.{os.getpid()}"), path, text.encode())


def _replace(draft: Path, path: Path, data: bytes) -> None:
    try:
        draft.write_bytes(data)
        fsync(draft)
        os.replace(draft, path)
        fsync(path.parent)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def no_space_is_disk_full(root: Path) -> Iterator[None]:
    """Raise DiskFull in place of an OSError for a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise _disk_full(root) from error
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
    """Free bytes on the file system of a folder."""
    return shutil.disk_usage(root).free


def require_free(root: Path, num_bytes: int) -> None:
    """Raise DiskFull before starting work if its results would not fit on the disk."""
    if free_bytes(root) < num_bytes:
        raise _disk_full(root, f"; expected at least {num_bytes / 1e6:.0f} MB")


def _disk_full(root: Path, expected: str = "") -> DiskFull:
    return DiskFull(
        f"No space is left for {root}: {free_bytes(root) / 1e6:.0f} MB free{expected}. Committed "
        "data is complete, and no partial file was kept. Free some space and run the same command "
        "again."
    )
