"""Atomic folders: a folder appears with all its files, synced to the disk, or not at all."""

import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from nightrain.datasets.io.atomic import (
    abandoned_drafts,
    draft_path,
    fsync,
    make_folder,
    remove,
    sweep_drafts,
)

NUM_SYNC_THREADS = 8
ASIDE = ".aside"  # ending of the earlier folder while it is replaced


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a hidden folder to fill; at the end of the block it gets the name `path`.

    Everything in it is synced before, with the file mode of the umask. A folder that is there is
    replaced. A failure leaves what was there, and a killed process a draft that the next call
    removes.
    """
    make_folder(path.parent)
    recover(path)
    draft = draft_path(path)
    draft.mkdir()
    try:
        yield draft
        _sync_tree(draft)
        _move_into_place(draft, path)
    finally:
        remove(draft)


def recover(path: Path) -> None:
    """Restore a folder that a killed process was replacing, and remove its drafts."""
    for aside in abandoned_drafts(path):
        if aside.name.endswith(ASIDE) and not os.path.lexists(path):
            os.rename(aside, path)
    sweep_drafts(path)


def _move_into_place(draft: Path, path: Path) -> None:
    try:
        os.rename(draft, path)  # succeeds for a new name and over an empty folder
    except OSError:
        if not path.is_dir():
            raise
        aside = path.with_name(draft_path(path).name + ASIDE)
        os.rename(path, aside)
        os.rename(draft, path)
        fsync(path.parent)
        remove(aside)
    else:
        fsync(path.parent)


def _sync_tree(folder: Path) -> None:
    """Sync all files and then all folders below `folder`, and give files the umask's mode."""
    mode = stat.S_IMODE(folder.stat().st_mode) & 0o666
    found = list(os.walk(folder, topdown=False))
    files = [Path(top) / name for top, _, names in found for name in names]

    def sync(path: Path) -> None:
        if stat.S_IMODE(path.stat().st_mode) != mode:
            path.chmod(mode)  # libraries that write by way of a temporary file set 0600
        fsync(path)

    with ThreadPoolExecutor(NUM_SYNC_THREADS) as pool:
        list(pool.map(sync, files))
    for top, _, _ in found:
        fsync(Path(top))
