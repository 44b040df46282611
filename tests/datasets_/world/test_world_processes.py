"""Scenes side by side: the same bytes for any number of processes, and nothing half done."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from nightrain.datasets.errors import NightrainError
from nightrain.datasets.world.export.plan import SceneSpec
from nightrain.datasets.world.export.writer import write_world

SMALL = {"frames": 1, "seed": 4, "size": (48, 32)}
Progress = Callable[[int, int], None]


def write(out: Path, num_scenes: int, processes: int, progress: Progress | None = None) -> None:
    scenes = [SceneSpec(place=k) for k in range(num_scenes)]
    write_world(out, scenes=scenes, processes=processes, progress=progress, **SMALL)  # type: ignore[arg-type]


def assert_nothing_half_done_is_left(out: Path) -> None:
    """Neither a process, nor a file of a scene that was not finished."""
    assert [p.name for p in out.iterdir()] == ["_scenes"]
    assert all((p / "record.json").is_file() for p in (out / "_scenes").glob("*/"))
    assert not multiprocessing.active_children()


def test_bytes_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write(tmp_path / "one", 2, 1)
    write(tmp_path / "two", 2, 2, lambda *done: seen.append(done))
    sums = [(tmp_path / name / "SHA256SUMS").read_bytes() for name in ("one", "two")]
    assert sums[0] == sums[1]  # of every image, scan, truth and table
    files = [sorted(p.name for p in (tmp_path / n).rglob("*")) for n in ("one", "two")]
    assert files[0] == files[1]
    assert seen == sorted(set(seen)) and seen[-1] == (6, 6)


def test_a_killed_process_is_a_clear_error(tmp_path: Path) -> None:
    killed: list[int] = []

    def kill(done: int, total: int) -> None:
        """Once: the pool may report progress again before it notices."""
        if not killed:
            killed.append(multiprocessing.active_children()[0].pid or 0)
            os.kill(killed[0], signal.SIGKILL)

    with pytest.raises(NightrainError, match=r"ended from outside.*fewer processes"):
        write(tmp_path / "w", 2, 2, kill)
    assert_nothing_half_done_is_left(tmp_path / "w")


def test_an_interrupted_run_leaves_no_half_scene(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "w", 2, 2, stop)
    assert_nothing_half_done_is_left(tmp_path / "w")


def test_an_error_of_the_disk_names_the_scene_and_ends_the_run(tmp_path: Path) -> None:
    def block(done: int, total: int) -> None:
        for growing in (tmp_path / "w" / "_scenes").glob(".*"):
            path = growing / "samples" / "LIDAR_TOP"
            if path.parent.is_dir() and not path.exists():
                path.write_text("a file where a folder must be")

    with pytest.raises(OSError, match="LIDAR_TOP") as caught:
        write(tmp_path / "w", 2, 2, block)
    assert any("scene world-00" in note for note in caught.value.__notes__)
    assert_nothing_half_done_is_left(tmp_path / "w")
