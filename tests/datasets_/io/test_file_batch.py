"""A batch of files appears at its commit, whole, and never outside its folder."""

import os
from collections.abc import Callable
from pathlib import Path
from threading import Barrier

import pytest

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.io.file_batch import FileBatch, sweep


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_files_get_their_names_at_the_commit(tmp_path: Path) -> None:
    batch = FileBatch(tmp_path / "out")
    batch.add("a/b/1.bin", b"one")
    batch.add("a/2.bin", b"two")
    batch.add("a/2.bin", b"again")  # a name that is there twice keeps the last content
    assert len(batch) == 2 and not (tmp_path / "out/a").exists()
    batch.commit()
    batch.add("a/b/3.bin", b"three")
    batch.discard()
    assert files(tmp_path / "out") == {"a/b/1.bin": b"one", "a/2.bin": b"again"}
    assert batch.num_bytes == 8 and not (tmp_path / "out/_tmp").exists()


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "", "a\\..\\..\\x", "a\nb"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    batch = FileBatch(tmp_path / "out")
    with pytest.raises(DamagedInput, match="the file name"):
        batch.add(name, b"x")
    batch.commit()
    assert not files(tmp_path)


def test_drafts_of_dead_processes_are_swept_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    batch = FileBatch(tmp_path)
    batch.add("1.bin", b"one")
    dead = tmp_path / "_tmp/host-boot-space-1-dead"
    dead.mkdir()
    (dead / "0").write_bytes(b"left")
    os.utime(dead, (0, 0))
    sweep(tmp_path)
    assert not dead.exists()
    batch.commit()
    assert files(tmp_path) == {"1.bin": b"one"}


def test_files_that_threads_make_are_whole_at_the_commit(tmp_path: Path) -> None:
    batch = FileBatch(tmp_path)
    started = Barrier(2)

    def slow(content: bytes) -> Callable[[], bytes]:
        def make() -> bytes:
            started.wait(timeout=60)
            return content

        return make

    batch.add_made("1.bin", slow(b"one"))
    batch.add("2.bin", b"two")
    started.wait(timeout=60)
    batch.add_made("2.bin", lambda: b"again")
    batch.add("2.bin", b"last")  # waits for the thread that writes the same draft
    batch.commit()
    assert files(tmp_path) == {"1.bin": b"one", "2.bin": b"last"} and batch.num_bytes == 7


def test_what_a_thread_could_not_make_is_raised_and_nothing_is_committed(tmp_path: Path) -> None:
    batch = FileBatch(tmp_path)

    def damaged() -> bytes:
        raise DamagedInput(Reason.UNDECODABLE_IMAGE, "no picture")

    batch.add("1.bin", b"one")
    batch.add_made("2.bin", damaged)
    with pytest.raises(DamagedInput, match="no picture"):
        batch.commit()
    batch.discard()
    assert not files(tmp_path)
