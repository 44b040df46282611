"""Behaviour of a network file system, on the local disk."""

import errno
import os
from pathlib import Path

import pytest


def lose_answers_of_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make each link succeed and then fail with EEXIST, as a repeated request on NFS does."""
    link = os.link

    def done_and_refused(source: Path, target: Path) -> None:
        link(source, target)
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(os, "link", done_and_refused)
