"""Folders: the checkout, real recordings next to it, and those that are made once in a run."""

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REAL_DATA = ROOT.parent / "shared" / "data"


def shared_folder(
    temporary: pytest.TempPathFactory, name: str, make: Callable[[Path], object]
) -> Path:
    """The folder that `make(folder)` filled for this name, made by the first process that asks.

    The name says the recipe, so two recipes have two names. Tests only read the folder; a test that
    writes takes a copy of it.
    """
    base = temporary.getbasetemp()
    top = base.parent if base.name.startswith("popen-") else base  # xdist: each process has its own
    folder = top / "shared" / name
    folder.parent.mkdir(exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            growing = folder.with_suffix(".growing")
            shutil.rmtree(growing, ignore_errors=True)  # of a test that failed
            make(growing)
            growing.rename(folder)
    return folder
