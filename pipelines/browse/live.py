"""Live samples: what is committed while the page is open is taken up by a later request.

A look at the time stamps of the manifest's folders, at most every few seconds, notices it; then
only new files are read. A request works with one state from its start to its end.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from nightrain.datasets.errors import NightrainError
from nightrain.pipelines.browse.index import SampleIndex
from nightrain.pipelines.browse.pictures import PictureFiles, Pictures
from nightrain.pipelines.browse.sample_rows import SampleRows, read_sample_rows

MANIFEST = "_manifest"
CHECK_SECONDS = 3.0
SETTLED_NS = 2_000_000_000  # two changes of a younger folder may have the same time stamp


class State(NamedTuple):
    """Samples of a dataset at a moment, and their pictures."""

    samples: SampleIndex
    pictures: Pictures


class LiveSamples:
    """The samples of a dataset, now; every method may be called from several threads."""

    def __init__(
        self,
        root: Path,
        reviewer: str = "",
        progress: Callable[[int, int], None] | None = None,
        check_seconds: float = CHECK_SECONDS,
    ) -> None:
        self._root, self._reviewer, self._check_seconds = root, reviewer, check_seconds
        self._files, self._lock = PictureFiles(root), Lock()
        self._stamps = _stamps(root)
        self._state = self._state_of(read_sample_rows(root, progress))
        self._checked_at = time.monotonic()

    def now(self) -> State:
        """Samples, those of new shards included; another thread's request never waits for them."""
        if self._lock.acquire(blocking=False):
            try:
                if time.monotonic() - self._checked_at >= self._check_seconds:
                    self._look()
                    self._checked_at = time.monotonic()
            finally:
                self._lock.release()
        self._state.samples.refresh()
        return self._state

    def _look(self) -> None:
        """Read what the manifest has since the last look."""
        stamps = _stamps(self._root)
        if stamps == self._stamps:
            return
        earlier = self._state.samples.rows
        try:
            rows = read_sample_rows(self._root, earlier=earlier)
        except NightrainError as error:  # such as a dataset that was upgraded
            rows = earlier._replace(problems=earlier.problems | {MANIFEST: str(error)})
        if rows is not earlier:
            self._state = self._state_of(rows)
        is_settled = time.time_ns() - max(stamps.values(), default=0) > SETTLED_NS
        self._stamps = stamps if is_settled else {}

    def _state_of(self, rows: SampleRows) -> State:
        index = SampleIndex(self._root, rows, self._reviewer)
        return State(index, Pictures(index, self._files))


def _stamps(root: Path) -> dict[str, int]:
    """Time of the last change to each folder of the manifest, in nanoseconds."""
    found, folders = dict[str, int](), [f"{root}/{MANIFEST}"]
    while folders:
        folder = folders.pop()
        try:
            found[folder] = os.stat(folder).st_mtime_ns
            with os.scandir(folder) as entries:
                folders += [one.path for one in entries if one.is_dir(follow_symlinks=False)]
        except OSError:  # reading it says what is wrong
            found[folder] = 0
    return found
