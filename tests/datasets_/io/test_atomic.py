"""Atomic files: content and names reach the disk in order, and nothing half-written stays."""

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
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
from nightrain.datasets.io.process import Owner
from support.network_disk import lose_answers_of_links
from support.power_cut import Disk

Events = list[tuple[str, str]]


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk(tmp_path, monkeypatch)
    yield disk
    disk.close()


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
    written(kind, tmp_path, path, "text")
    events.clear()  # the syncs of new folders
    path.unlink()
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


@pytest.mark.parametrize("kind", ["write_whole", "replace_file", "create_exclusively"])
def test_a_file_in_new_folders_survives_a_power_cut(tmp_path: Path, disk: Disk, kind: str) -> None:
    """The file, its folder and all the folders above it that are new."""
    root = tmp_path / "new" / "dataset"
    written(kind, root, root / "a" / "b" / "file.json", "text")
    assert disk.contents()["new/dataset/a/b/file.json"] == b"text"
    assert not [name for name in disk.contents() if "draft" in name]


def test_a_folder_of_a_process_that_died_is_made_durable(tmp_path: Path, disk: Disk) -> None:
    """It was created, and its process was killed before it could sync its name."""
    (tmp_path / "dataset" / "variants" / "night").mkdir(parents=True)
    root = tmp_path / "dataset"
    assert create_exclusively(root, root / "variants" / "night" / "file", b"text")
    assert disk.contents()["dataset/variants/night/file"] == b"text"


def test_folders_that_cannot_be_synced_are_used_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network and FUSE file systems refuse to sync a folder; none refuses a file."""
    sync = os.fsync

    def refused(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EINVAL, "Invalid argument")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", refused)
    write_whole(tmp_path / "a" / "file", "text")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.EINVAL, "no")))
    with pytest.raises(OSError, match="no"):
        write_whole(tmp_path / "a" / "other", "text")


def test_drafts_of_dead_processes_are_removed_and_others_stay(tmp_path: Path) -> None:
    path, dead = tmp_path / "file.json", replace(Owner.me(), pid=2**30)
    names = [
        f".file.json.draft-{dead.token()}.00000000.json",
        f".file.json.draft-{replace(dead, boot='0' * 8).token()}.00000000.json",
        f".file.json.draft-{Owner.me().token()}.00000000.json",
        f".file.json.draft-{replace(dead, host='0' * 8, boot='0' * 8).token()}.00000000.json",
        f".other.json.draft-{dead.token()}.00000000.json",
    ]
    for name in names:
        (tmp_path / name).write_text("half")
    write_whole(path, "text")
    assert path.read_text() == "text"
    assert {p.name for p in tmp_path.iterdir()} == {"file.json", *names[2:]}


def test_a_writer_gets_a_path_with_the_ending_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / ("long" * 60 + ".png")
    write_whole(path, lambda draft: draft.write_text(draft.suffix))
    assert path.read_text() == ".png" and list(tmp_path.iterdir()) == [path]
    with pytest.raises(ZeroDivisionError):
        write_whole(path, lambda draft: (draft.write_text("half"), 1 / 0))
    assert path.read_text() == ".png" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["write_whole", "replace_file"])
def test_the_old_content_stays_if_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = tmp_path / "file.json"
    written(kind, tmp_path, path, "old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DiskFull, match="no partial file"), no_space_is_disk_full(tmp_path):
            written(kind, tmp_path, path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["file.json"]


def test_a_name_that_is_taken_keeps_its_content(tmp_path: Path) -> None:
    path = tmp_path / "a" / "file.json"
    assert create_exclusively(tmp_path, path, b"first")
    assert not create_exclusively(tmp_path, path, b"second")
    assert path.read_bytes() == b"first" and not list((tmp_path / "_tmp").iterdir())


@pytest.mark.parametrize(
    ("number", "words"),
    [
        *((n, "without hard links.*Move the dataset") for n in (errno.EPERM, errno.ENOSYS)),
        *((n, "without hard links.*Move the dataset") for n in (errno.ENOTSUP, errno.EINVAL)),
        (errno.EXDEV, "another file system than.*_tmp.*Keep the whole dataset on one"),
    ],
)
def test_a_file_system_without_hard_links_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refused)
    with pytest.raises(NightrainError, match=words):
        link_exclusively(tmp_path / "a", tmp_path / "b")


def test_a_link_that_was_done_and_then_refused_is_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS repeats a request whose answer was lost, and the server finds the name taken."""
    lose_answers_of_links(monkeypatch)
    assert create_exclusively(tmp_path, tmp_path / "a", b"mine")
    assert not create_exclusively(tmp_path, tmp_path / "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"mine"


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), no_space_is_disk_full(tmp_path):
        raise PermissionError(errno.EACCES, "Permission denied")
    with pytest.raises(DiskFull, match="expected at least 1152921504607 MB"):
        require_free(tmp_path / "not" / "yet", 1 << 60)


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "MB free"), (errno.EDQUOT, "quota"), (errno.EFBIG, "ulimit -f")],
)
def test_every_kind_of_full_disk_is_named(tmp_path: Path, number: int, words: str) -> None:
    with pytest.raises(DiskFull, match=words), no_space_is_disk_full(tmp_path):
        raise OSError(number, os.strerror(number))
