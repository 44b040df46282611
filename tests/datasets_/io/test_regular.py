"""Regular files: what cannot be read is an error, and never taken for missing."""

import os
import socket
import tracemalloc
from pathlib import Path

import pytest

from nightrain.datasets.errors import UnreadableFile
from nightrain.datasets.io.regular import files_below, kind_of, matching, open_regular, read_regular


def test_regular_files_are_read_through_links(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").symlink_to("a")
    assert read_regular(tmp_path / "a") == read_regular(tmp_path / "b") == b"x"
    assert kind_of(tmp_path / "b") == "a symbolic link"


def test_missing_files_are_missing(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    for name in ("gone", "a/c"):
        with pytest.raises(FileNotFoundError):
            read_regular(tmp_path / name)
    assert list(files_below(tmp_path / "gone")) == matching(tmp_path / "gone", "*") == []


def test_other_kinds_of_file_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("gone")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for name in ("fifo", "folder", "zero", "loop", "socket", "dangling"):
            with pytest.raises(UnreadableFile, match=name):
                open_regular(tmp_path / name)


def test_listings_are_complete_and_sorted(tmp_path: Path) -> None:
    for name in ("b.json", "a/c.json", "a/d/e.json", "a/f.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [str(path.relative_to(tmp_path)) for path in files_below(tmp_path, ".json")]
    assert found == ["a/c.json", "a/d/e.json", "b.json"]
    assert [path.name for path in matching(tmp_path, "?.json")] == ["b.json"]


def test_a_folder_that_cannot_be_listed_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    real = os.scandir

    def scandir(path: Path) -> object:
        if str(path).endswith("a"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UnreadableFile, match="a cannot be listed: Permission denied"):
        list(files_below(tmp_path))
    with pytest.raises(UnreadableFile, match="cannot be listed"):
        matching(tmp_path / "a", "*")
    monkeypatch.undo()
    (tmp_path / "f").touch()
    with pytest.raises(UnreadableFile, match="Not a directory"):
        matching(tmp_path / "f", "*")


def test_a_file_is_read_whole_up_to_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, data = tmp_path / "a", os.urandom(5000)
    path.write_bytes(data)
    assert read_regular(path) == read_regular(str(path), 5000) == data
    with pytest.raises(UnreadableFile, match="expected at most 4999"):
        read_regular(path, 4999)
    real = os.read
    monkeypatch.setattr(os, "read", lambda file, count: real(file, min(count, 700)))
    assert read_regular(path) == data  # in parts, as a network file system may return them


def test_reading_a_small_file_allocates_little(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    tracemalloc.start()
    try:
        read_regular(tmp_path / "a")
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()
