"""Verdicts: people's reviews of the samples that are shown, kept as `nightrain review` keeps them.

Those that another process records are noticed by the time stamp of their folder.
"""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from nightrain.datasets.errors import CorruptShard, UnreadableFile
from nightrain.datasets.shards.reviews import (
    FOLDER,
    Review,
    read_reviews,
    remove_review,
    write_review,
)

Verdict = Literal["accept", "reject", "none"]


class Verdicts:
    """Reviews of a dataset by sample id."""

    def __init__(self, root: Path, reviewer: str = "") -> None:
        self._root, self._reviewer = root, reviewer
        self._stamp: int | None = None
        self.reviews: dict[str, Review] = {}
        self.problem = ""  # why the reviews cannot be read

    def refresh(self) -> bool:
        """Read the reviews if their folder changed; return whether they were read."""
        stamp = _stamp(self._root)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self.reviews, self.problem = read_reviews(self._root), ""
        except (CorruptShard, UnreadableFile) as error:
            self.problem = str(error)
        return True

    def record(self, sample_id: str, verdict: Verdict, reason: str) -> Review | None:
        """Record a verdict, or remove it; return what is recorded now.

        Raises InvalidRequest if the dataset cannot be written, DiskFull.
        """
        self._stamp = None  # read again: two changes may have the same time stamp
        if verdict == "none":
            remove_review(self._root, sample_id)
            return None
        review = Review(
            sample_id=sample_id,
            verdict=verdict,
            reason=reason,
            reviewer=self._reviewer,
            created_at=datetime.now(UTC),
        )
        write_review(self._root, review)
        return review


def _stamp(root: Path) -> int:
    """Time of the last change to the folder of reviews, in nanoseconds; 0 if there is none."""
    try:
        return os.stat(root / FOLDER).st_mtime_ns
    except OSError:
        return 0
