"""A dataset that cannot be written: it is read, counted and previewed; writing is one sentence."""

import errno
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nightrain.datasets.io import atomic
from support.command import Command
from support.sources import nuscenes as fixture
from support.tiny_depth_models import save_teacher

OLD = Path(__file__).parents[2] / "support" / "old_datasets"
RECIPE = """
name: still
depth: lidar
conditions: {fog: {lowest: 0.2, highest: 0.4}}
"""
LOCAL = ("--runner", "local")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two train scenes in nuScenes' layout."""
    return fixture.build(tmp_path / "in", scenes=fixture.SCENES[:2]).root


@pytest.fixture
def complete(tmp_path: Path, source: Path, nightrain: Command) -> Path:
    """A dataset with frames and variants of still.yaml."""
    root = tmp_path / "complete"
    (tmp_path / "still.yaml").write_text(RECIPE)
    (tmp_path / "other.yaml").write_text(RECIPE.replace("0.4", "0.5").replace("still", "other"))
    assert nightrain("ingest", "nuscenes", source, "--split", "all", "--out", root)[0] == 0
    recipe = ("--recipe", tmp_path / "still.yaml")
    assert nightrain("generate", root, *recipe, *LOCAL)[0] == 0
    return root


def refuse_as(number: int) -> Callable[..., Path]:
    """A replacement for `temporary_path`, with which every write of a dataset begins."""

    def refuse(root: Path, ending: str = "") -> Path:
        raise OSError(number, os.strerror(number), str(root))

    return refuse


@pytest.fixture(params=["read-only", "not permitted", "mounted"])
def sealed(
    request: pytest.FixtureRequest, complete: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The dataset on a file system that refuses to create files: mocked, and really mounted."""
    monkeypatch.chdir(tmp_path)
    if request.param != "mounted":
        number = errno.EROFS if request.param == "read-only" else errno.EACCES

        monkeypatch.setattr(atomic, "temporary_path", refuse_as(number))
        yield complete
        return
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    if subprocess.run(["mount", "--bind", complete, mounted], capture_output=True).returncode:
        pytest.skip("this user cannot mount")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", mounted], check=True)
        yield mounted
    finally:
        subprocess.run(["umount", mounted], check=True)


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_reading_succeeds(sealed: Path, source: Path, nightrain: Command, tmp_path: Path) -> None:
    before = tree(sealed)
    recipe = ("--recipe", tmp_path / "still.yaml")
    again = ("ingest", "nuscenes", source, "--split", "all", "--out", sealed)
    for command in (
        ("verify", sealed),
        ("repair", sealed, "--yes"),  # nothing is damaged
        ("upgrade", sealed),  # nothing is old
        ("prune", sealed, "--variants", "still"),  # only says what it would remove
        ("stats", sealed),
        ("stats", sealed, "--by", "condition,hour"),
        ("runs", sealed),
        ("leakage", sealed),
        ("plan", sealed, *recipe),
        ("preview", sealed, *recipe, "--frames", "1"),
        ("preview", sealed, *recipe, "--show", "committed"),
        ("preview", sealed, *recipe, "--out", tmp_path / "sheet.jpg", "--frames", "1"),
        ("generate", sealed, *recipe, *LOCAL),  # nothing is left to do
        again,
    ):
        code, printed = nightrain(*command)
        assert code == 0, printed
    assert tree(sealed) == before
    sheets = {path.name.partition("-")[0] for path in tmp_path.glob("*.png")}
    assert sheets == {"preview", "committed"} and (tmp_path / "sheet.jpg").exists()


def test_repairs_and_upgrades_are_refused(
    tmp_path: Path, nightrain: Command, complete: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tarfile.open(OLD / "schema1.tar.gz") as archive:
        archive.extractall(tmp_path / "old", filter="data")
    (old,) = (path.parent for path in (tmp_path / "old").rglob("_manifest"))
    next((complete / "frames").glob("*.parquet")).unlink()
    for command in (("repair", complete, "--yes"), ("upgrade", old)):
        before = tree(Path(command[1]))
        with monkeypatch.context() as patched:
            patched.setattr(atomic, "temporary_path", refuse_as(errno.EROFS))
            code, printed = nightrain(*command)
        assert code == 2 and "cannot be written (Read-only file system)" in printed, printed
        assert tree(Path(command[1])) == before


def test_writing_is_refused_in_one_sentence(
    sealed: Path, source: Path, nightrain: Command, tmp_path: Path
) -> None:
    before = tree(sealed)
    teacher = save_teacher(tmp_path / "teacher", seed=0)
    other = fixture.build(tmp_path / "more", scenes=fixture.SCENES[:3]).root  # has grown
    for command in (
        ("generate", sealed, "--recipe", tmp_path / "other.yaml", *LOCAL),
        ("caption", sealed, "--captioner", "metadata", *LOCAL),
        ("label", sealed, "--teacher", teacher, "--device", "cpu", *LOCAL),
        ("ingest", "nuscenes", other, "--split", "all", "--out", sealed),
        ("prune", sealed, "--variants", "still", "--yes"),
    ):
        code, printed = nightrain(*command)
        assert code == 2 and "Traceback" not in printed, printed
        (sentence,) = [line for line in printed.splitlines() if "nightrain:" in line]
        assert "cannot be written" in sentence and "make the folder writable" in sentence
    assert tree(sealed) == before
