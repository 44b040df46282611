"""Files and folders that cannot be read, also for root, whom permissions do not stop."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest


def deny(monkeypatch: pytest.MonkeyPatch, *paths: Path) -> None:
    """Make opening and listing of paths fail as it does for a user without permission."""
    denied, real_open, real_scandir = {str(path) for path in paths}, os.open, os.scandir

    def refuse(path: object) -> None:
        if str(path) in denied:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

    def open_(path: Any, *args: Any, **kwargs: Any) -> int:
        refuse(path)
        return real_open(path, *args, **kwargs)

    def scandir(path: Any = ".") -> Any:
        refuse(path)
        return real_scandir(path)

    monkeypatch.setattr(os, "open", open_)
    monkeypatch.setattr(os, "scandir", scandir)
