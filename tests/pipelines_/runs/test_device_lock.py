"""The lock of a device: one holder at a time, in threads and processes, freed by death."""

import itertools
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from nightrain.datasets.errors import InvalidRequest
from nightrain.pipelines.runs.device_lock import lock_path, sole_use
from support.processes import DEADLINE_S

HOLDER = """
import sys
from nightrain.pipelines.runs.device_lock import sole_use
with sole_use("gpu-0"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


def is_free(device: str) -> bool:
    looks = itertools.chain([False], itertools.repeat(True))  # one look at the lock, then give up
    with sole_use(device, give_up=lambda: next(looks)) as held:
        return held


def test_a_held_device_is_nobody_elses() -> None:
    with sole_use("gpu-0") as held:
        assert held and not is_free("gpu-0") and is_free("gpu-1")
    assert is_free("gpu-0")


def test_a_device_is_free_after_an_error() -> None:
    with pytest.raises(KeyError), sole_use("gpu-0"):
        raise KeyError
    assert is_free("gpu-0")


def test_no_device_needs_no_lock(tmp_path: Path) -> None:
    with sole_use("") as first, sole_use("") as second:
        assert first and second
    assert not list(tmp_path.iterdir())


def test_another_thread_waits_until_it_is_free() -> None:
    held, looked = threading.Event(), threading.Event()

    def work() -> None:
        with sole_use("gpu-0", give_up=lambda: looked.set() or False):
            held.set()

    thread = threading.Thread(target=work)
    with sole_use("gpu-0"):
        thread.start()
        assert looked.wait(DEADLINE_S) and not held.is_set()
    thread.join()
    assert held.is_set()


def test_a_killed_process_frees_it() -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin and holder.stdout and holder.stdout.readline() == b"held\n"
    assert not is_free("gpu-0")
    holder.kill()
    holder.wait()
    assert is_free("gpu-0")
    holder.stdin.close()
    holder.stdout.close()


def test_a_folder_that_is_no_folder_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"nightrain-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidRequest, match="TMPDIR"):
        lock_path("gpu-0")
