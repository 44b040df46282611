"""File digests: every byte counts, and a large file is read once."""

import hashlib
import os
from pathlib import Path

import pytest

from nightrain.depthmodel import file_digest as module
from nightrain.depthmodel.file_digest import LEAST_BYTES, file_digest


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that was last changed some time ago, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "SETTLED_SECONDS", -1.0)
    path = tmp_path / "weights"
    path.write_bytes(bytes(LEAST_BYTES * 3))
    return path


def read_nothing(_: Path) -> str:
    raise AssertionError("read again")


def test_a_large_file_is_read_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = hashlib.sha256(file.read_bytes()).hexdigest()
    assert file_digest(file) == expected
    monkeypatch.setattr(module, "_sha256", read_nothing)
    assert file_digest(file) == expected


def test_a_byte_in_the_middle_counts_even_if_the_time_is_set_back(file: Path) -> None:
    before, about = file_digest(file), file.stat()
    data = bytearray(file.read_bytes())
    data[len(data) // 2] = 1
    with open(file, "r+b") as opened:
        opened.write(data)
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert file.stat().st_mtime_ns == about.st_mtime_ns and file_digest(file) != before


def test_a_file_that_has_just_changed_is_not_remembered(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SETTLED_SECONDS", 60.0)
    file_digest(file)
    assert not (tmp_path / "cache").exists()


def test_a_damaged_or_unwritable_cache_is_ignored(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = file_digest(file)
    [cached] = (tmp_path / "cache" / "nightrain" / "digests").iterdir()
    cached.write_bytes(b"\xff")
    assert file_digest(file) == expected
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert file_digest(file) == expected
