"""Atomic files: content and names reach the disk in order, and nothing half-written stays."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nightrain.datasets.errors import DiskFull, NightrainError
from nightrain.datasets.io.atomic import (
    create_exclusively,
    link_exclusively,
    no_space_is_disk_full,
    replace_file,
    require_free,
    write_whole,
)

Events = list[tuple[str, str]]


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Events:
    """Notes each sync, rename and link, with the name of the path."""
    seen: Events = []
    sync, replace, link = os.fsync, os.replace, os.link

    def noted_sync(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        content = "folder" if os.path.isdir(path) else Path(path).read_text()
        seen.append(("sync", f"{path} {content}"))
        sync(descriptor)

    def noted(name: str, call: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
        def run(source: Path, target: Path) -> None:
            seen.append((name, f"{source} {target}"))
            call(source, target)

        return run

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "replace", noted("replace", replace))
    monkeypatch.setattr(os, "link", noted("link", link))
    return seen


def written(kind: str, root: Path, path: Path, text: str) -> None:
    if kind == "write_whole":
        write_whole(path, text)
    elif kind == "replace_file":
        replace_file(root, path, text.encode())
    else:
        assert create_exclusively(root, path, text.encode())


@pytest.mark.parametrize("kind", ["write_whole", "replace_file", "create_exclusively"])
def test_content_is_synced_before_its_name_and_the_folder_after(
    tmp_path: Path, events: Events, kind: str
) -> None:
    path = tmp_path / "folder" / "file.json"
    path.parent.mkdir()
    written(kind, tmp_path, path, "text")
    (named, arguments) = events[1]
    draft, target = arguments.split()
    assert named == ("link" if kind == "create_exclusively" else "replace")
    assert target == str(path) and events == [
        ("sync", f"{draft} text"),
        (named, f"{draft} {path}"),
        ("sync", f"{path.parent} folder"),
    ]
    assert path.read_text() == "text" and not Path(draft).exists()


@pytest.mark.parametrize("kind", ["write_whole", "replace_file"])
def test_the_old_content_stays_if_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = tmp_path / "file.json"
    written(kind, tmp_path, path, "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match="no partial file"), no_space_is_disk_full(tmp_path):
        written(kind, tmp_path, path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["file.json"]


def test_a_name_that_is_taken_keeps_its_content(tmp_path: Path) -> None:
    path = tmp_path / "a" / "file.json"
    assert create_exclusively(tmp_path, path, b"first")
    assert not create_exclusively(tmp_path, path, b"second")
    assert path.read_bytes() == b"first" and not list((tmp_path / "_tmp").iterdir())


def test_a_file_system_without_hard_links_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    with pytest.raises(NightrainError, match=r"without hard links.*Move the dataset"):
        link_exclusively(tmp_path / "a", tmp_path / "b")


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), no_space_is_disk_full(tmp_path):
        raise PermissionError(errno.EACCES, "Permission denied")
    with pytest.raises(DiskFull, match="expected at least 1152921504607 MB"):
        require_free(tmp_path, 1 << 60)
