"""Atomic folders: they appear whole and synced, and killed writers leave nothing for long."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nightrain.datasets.io.atomic_folder import ASIDE, recover, whole_folder
from nightrain.datasets.io.process import Owner
from support.power_cut import Disk


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk(tmp_path, monkeypatch)
    yield disk
    disk.close()


def write(path: Path, text: str) -> None:
    with whole_folder(path) as draft:
        (draft / "a" / "b").mkdir(parents=True)
        for name in ("top", "a/middle", "a/b/leaf"):
            (draft / name).write_text(text)


def texts(folder: Path) -> dict[str, str]:
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {str(p.relative_to(folder)): p.read_text() for p in files}


def test_all_files_survive_a_power_cut_once_the_folder_has_its_name(
    tmp_path: Path, disk: Disk
) -> None:
    write(tmp_path / "new" / "out", "text")
    [(_, before)] = [cut for cut in disk.cuts if cut[0] == "out"]
    assert "new/out" not in before and "new/out/top" not in before
    names = {f"new/out/{name}": b"text" for name in ("top", "a/middle", "a/b/leaf")}
    assert {k: v for k, v in disk.contents().items() if v is not None} == names


def test_a_power_cut_while_a_folder_is_replaced_leaves_the_old_or_the_new(
    tmp_path: Path, disk: Disk
) -> None:
    """At each rename, either the old folder or the new one is on the disk, with all its files."""
    write(tmp_path / "out", "old")
    del disk.cuts[:]
    write(tmp_path / "out", "new")
    assert len(disk.cuts) >= 2
    for _, contents in [*disk.cuts, ("", disk.contents())]:
        leaves = {name: data for name, data in contents.items() if name.endswith("a/b/leaf")}
        named = leaves.get("out/a/b/leaf") or next(v for k, v in leaves.items() if ASIDE in k)
        assert named in (b"old", b"new")
    assert texts(tmp_path / "out")["top"] == "new" and len(list(tmp_path.iterdir())) == 1


def test_files_get_the_mode_of_the_umask(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        with whole_folder(tmp_path / "out") as draft:
            (draft / "plain").write_text("")
            (draft / "private").touch(mode=0o600)
    finally:
        os.umask(mask)
    modes = {p.name: p.stat().st_mode & 0o777 for p in (tmp_path / "out").iterdir()}
    assert modes == {"plain": 0o640, "private": 0o640}
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o750


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    write(tmp_path / "out", "old")
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "out") as draft:
        (draft / "top").write_text(str(1 / 0))
    assert texts(tmp_path / "out")["top"] == "old" and len(list(tmp_path.iterdir())) == 1


def test_drafts_of_killed_processes_are_removed(tmp_path: Path) -> None:
    dead = replace(Owner.me(), pid=2**30).token()
    mine = Owner.me().token()
    for owner in (dead, mine):
        (tmp_path / f".out.draft-{owner}.00000000").mkdir()
        (tmp_path / f".out.draft-{owner}.00000000" / "half").touch()
    write(tmp_path / "out", "text")
    assert {p.name for p in tmp_path.iterdir()} == {"out", f".out.draft-{mine}.00000000"}


def test_a_folder_that_a_killed_process_had_moved_aside_comes_back(tmp_path: Path) -> None:
    dead = replace(Owner.me(), pid=2**30).token()
    write(tmp_path / f".out.draft-{dead}.00000000{ASIDE}", "old")
    recover(tmp_path / "out")
    assert texts(tmp_path / "out")["top"] == "old" and len(list(tmp_path.iterdir())) == 1
    write(tmp_path / f".out.draft-{dead}.00000000{ASIDE}", "older")
    recover(tmp_path / "out")
    assert texts(tmp_path / "out")["top"] == "old" and len(list(tmp_path.iterdir())) == 1
