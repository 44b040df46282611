"""Small promises about files: created whole and once, brought to the disk, never half-written."""

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nightrain.datasets.errors import DiskFull, NightrainError
from nightrain.datasets.io.process import Owner

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def fsync(path: Path) -> None:
    """Bring a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_path(root: Path, ending: str = "") -> Path:
    """A new name below DATASET/_tmp that tells whose it is, so that a sweep knows when to go."""
    folder = root / "_tmp"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{Owner.me().token()}.{uuid.uuid4().hex}{ending}"


def create_exclusively(root: Path, path: Path, data: bytes) -> bool:
    """Create a file of a dataset with all its content, or nothing; False where it exists already.

    A reader sees the whole file or none: the data goes to a temporary name, to the disk, and is
    then linked into place, which fails where the name is taken.
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
    """Give a finished file its final name without replacing one; False where it is taken."""
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP):
            raise NightrainError(
                f"{target.parent} lies on a file system without hard links, on which a commit "
                "cannot be exclusive. Put the dataset on a local or NFS file system."
            ) from error
        raise
    fsync(target.parent)
    return True


def replace_file(root: Path, path: Path, data: bytes) -> None:
    """Write a file of a dataset so that readers see the old or the new content, no mixture."""
    temporary = temporary_path(root)
    try:
        temporary.write_bytes(data)
        fsync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a file beside no dataset so that readers see the old or the new text, no mixture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    fsync(draft)
    os.replace(draft, path)


@contextmanager
def no_space_is_disk_full(root: Path) -> Iterator[None]:
    """Turn "no space left" into DiskFull, which says where and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise disk_full(root, None) from error
        raise


def free_bytes(root: Path) -> int:
    """Bytes that are free where a dataset lies."""
    return shutil.disk_usage(root).free


def require_free(root: Path, num_bytes: int) -> None:
    """Raise DiskFull before work begins that cannot be stored."""
    if shutil.disk_usage(root).free < num_bytes:
        raise disk_full(root, num_bytes)


def disk_full(root: Path, needed: int | None) -> DiskFull:
    """The error, in words."""
    free = shutil.disk_usage(root).free / 1e6
    wanted = "" if needed is None else f"; {needed / 1e6:.0f} MB are needed to go on"
    return DiskFull(
        f"No space is left for {root}: {free:.0f} MB free{wanted}. Nothing half-written was kept "
        "and what is committed is whole. Free some space and run the same command again."
    )
