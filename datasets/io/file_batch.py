"""File batches: many files that get their names together, once all of them are synced to the disk.

A folder of a hundred thousand pictures is written in batches: one file alone would wait for the
disk several times. What must be computed first, such as a picture of another size, is made by
threads. Drafts are in a folder that names its owner, so a killed process leaves nothing under a
final name, and `sweep` removes what it left.
"""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from nightrain.datasets.io.atomic import fsync, make_folder, remove
from nightrain.datasets.io.process import Owner, is_abandoned
from nightrain.datasets.io.regular import matching
from nightrain.datasets.io.untrusted import check_name

FOLDER = "_tmp"
NUM_SYNC_THREADS = 8
MOST_MAKING_THREADS = 8


class FileBatch:
    """Files below a folder that appear together at `commit`; names must stay inside the folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.num_bytes = 0  # of the files that were committed
        self._drafts = root / FOLDER / Owner.me().token()
        self._names: dict[str, Path] = {}  # draft of each final name
        self._makers = ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_MAKING_THREADS))
        self._making: list[Future[int]] = []

    def __len__(self) -> int:
        return len(self._names)

    def add(self, name: str, data: bytes) -> None:
        """Write a draft of a file; raises DamagedInput(UNSAFE_PATH) for a name that leads out."""
        with self.open(name) as file:
            file.write(data)

    def add_made(self, name: str, make: Callable[[], bytes]) -> None:
        """Write a draft of a file with the bytes that `make` returns, in a thread.

        `commit` waits for it, and raises what `make` raised. Raises DamagedInput as `add` does.
        """
        draft = self._draft(name)
        self._making.append(self._makers.submit(lambda: draft.write_bytes(make())))

    def open(self, name: str) -> BinaryIO:
        """Open a draft of a file for writing; close it before `commit`.

        A name that the batch has already keeps its draft, which is written anew.
        """
        return open(self._draft(name), "wb")

    def _draft(self, name: str) -> Path:
        """Draft of a name, which no thread is writing."""
        if not self._names:
            make_folder(self._drafts)
        if name in self._names:
            self._wait()
        number = str(len(self._names))
        return self._names.setdefault(check_name(name), self._drafts / number)

    def _wait(self) -> None:
        making, self._making = self._making, []
        for one in making:
            one.result()

    def commit(self) -> None:
        """Sync all drafts, and give them their names; an earlier file of a name is replaced."""
        self._wait()
        folders = {(self.root / name).parent for name in self._names}
        new = {above for f in folders for above in (f, *f.parents) if not above.exists()}
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(NUM_SYNC_THREADS) as pool:
            list(pool.map(fsync, self._names.values()))
            for name, draft in self._names.items():
                self.num_bytes += draft.stat().st_size
                os.replace(draft, self.root / name)
            list(pool.map(fsync, folders | {folder.parent for folder in new}))
        self._names.clear()

    def discard(self) -> None:
        """Remove the drafts, and end the threads; nothing can be added afterwards."""
        self._makers.shutdown(cancel_futures=True)
        self._names.clear()
        remove(self._drafts)
        top = self.root / FOLDER
        if top.is_dir() and not any(top.iterdir()):
            top.rmdir()


def sweep(root: Path) -> None:
    """Remove the drafts below a folder that dead processes left."""
    for drafts in matching(root / FOLDER, "*"):
        if is_abandoned(drafts, drafts.name):
            remove(drafts)
