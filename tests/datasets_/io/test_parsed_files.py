"""Files that are read again and again are parsed once, and again when they change."""

import gc
import os
import weakref
from pathlib import Path

import pytest

from nightrain.datasets.io import parsed_files
from nightrain.datasets.io.parsed_files import ParsedFiles, collector_paused


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """New files count as old."""
    monkeypatch.setattr(parsed_files, "SETTLED_NS", -1)


class Reader:
    """Reads texts and counts how often."""

    def __init__(self, most: int = 10) -> None:
        self.files, self.num_reads = ParsedFiles[str](most), 0

    def __call__(self, path: Path) -> str:
        return self.files.get(str(path), self._read)

    def _read(self, name: str) -> str:
        self.num_reads += 1
        return Path(name).read_text()


@pytest.mark.usefixtures("settled")
def test_a_file_is_read_once_until_it_changes(tmp_path: Path) -> None:
    path, read = tmp_path / "a", Reader()
    path.write_text("one")
    assert [read(path) for _ in range(3)] == ["one"] * 3 and read.num_reads == 1
    path.write_text("three")
    assert read(path) == "three" and read.num_reads == 2
    (tmp_path / "b").write_text("other")  # of the same size
    os.replace(tmp_path / "b", path)
    assert read(path) == "other" and read.num_reads == 3
    path.unlink()
    with pytest.raises(FileNotFoundError):
        read(path)


def test_a_young_file_is_read_again(tmp_path: Path) -> None:
    """It may change once more within the resolution of its time stamps."""
    path, read = tmp_path / "a", Reader()
    path.write_text("one")
    read(path)
    status = path.stat()
    path.write_text("two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert read(path) == "two"


@pytest.mark.usefixtures("settled")
def test_the_number_of_values_is_bounded(tmp_path: Path) -> None:
    read = Reader(most=2)
    for name in "abc":
        (tmp_path / name).write_text(name)
        read(tmp_path / name)
    assert len(read.files._values) == 1 and read(tmp_path / "a") == "a" and read.num_reads == 4


@pytest.mark.usefixtures("settled")
def test_a_file_without_permission_is_the_parsers_to_explain(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="loop"):
        Reader()(tmp_path / "loop")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError):
        Reader()(tmp_path / "file" / "below")


def test_many_values_are_hidden_from_the_collector_and_garbage_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Node:
        """A part of a cycle."""

    gc.collect()
    node = Node()
    node.itself = node  # type: ignore[attr-defined]
    garbage = weakref.ref(node)
    del node
    monkeypatch.setattr(parsed_files, "MANY_OBJECTS", 1000)
    before = gc.get_freeze_count()
    with collector_paused():
        few = [[number] for number in range(500)]
    assert gc.get_freeze_count() < before + len(few) and gc.isenabled()
    with collector_paused():
        many = [[number] for number in range(5000)]
    assert gc.get_freeze_count() > before + len(few) + len(many) // 2
    assert garbage() is None and gc.isenabled()
