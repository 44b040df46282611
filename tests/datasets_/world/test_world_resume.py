"""A world grows scene by scene: interruptions, failing scenes, and readers that come too early."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import BrokenSource, InvalidRequest, NightrainError
from nightrain.datasets.sources.nuscenes.config import WorldConfig
from nightrain.datasets.world.export import recorder, workers, writer
from nightrain.datasets.world.export.folder import Folder
from nightrain.datasets.world.export.plan import ScenePlan, scene_specs
from nightrain.datasets.world.export.writer import VERSION, WorldReport, write_world
from nightrain.flows.cli import app

CLEAR, RAIN = Condition.CLEAR, Condition.RAIN
SPECS = scene_specs(2, (CLEAR,), pairs=(RAIN,))
OPTIONS: dict[str, Any] = {"frames": 1, "seed": 4, "size": (32, 18)}
COMMAND = ("--seed", "4", "--scenes", "2", "--frames", "1", "--size", "32x18", "--pairs", "rain")
NAMES = ["world-0000", "world-0000-rain", "world-0001", "world-0001-rain"]
WHOLE = {"samples", "sweeps", "truth", "maps", VERSION, "SHA256SUMS"}


RECORDED: dict[str, tuple[dict[str, bytes], object]] = {}


def recorded(folder: Folder, plan: ScenePlan, on_image: Callable[[], None]) -> object:
    """As `write_scene`; a scene that was rendered before is written again without rendering."""
    if plan.name not in RECORDED:
        tables = recorder.write_scene(folder, plan, lambda: None)
        RECORDED[plan.name] = files(folder.root), tables
    found, tables = RECORDED[plan.name]
    for name, data in found.items():
        folder.write(name, data)
        if name.endswith(".jpg"):
            on_image()
    return tables


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    """Each scene is rendered once for all tests of this file, except in other processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "write_scene", recorded)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world that was rendered without interruption."""
    out = tmp_path_factory.mktemp("whole") / "w"
    render(out)
    return out


def render(out: Path, progress: Callable[[int, int], None] | None = None) -> WorldReport:
    return write_world(out, scenes=SPECS, progress=progress, **OPTIONS)


def files(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def scenes(out: Path) -> list[str]:
    return [scene["name"] for scene in json.loads((out / VERSION / "scene.json").read_text())]


def failing(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let the renderer die in the middle of some scenes, as it does from a fault of its own."""

    def write_scene(folder: Folder, plan: ScenePlan, on_image: Callable[[], None]) -> object:
        tables = recorded(folder, plan, on_image)
        if plan.name in names:
            raise IndexError(f"index -2147483648 in {plan.name}")
        return tables

    monkeypatch.setattr(workers, "write_scene", write_scene)


# Interruptions


@pytest.mark.parametrize("after", [0, 1, 4, 5, 11])
def test_a_stopped_world_is_resumed_with_the_same_bytes(
    whole: Path, tmp_path: Path, after: int
) -> None:
    seen: list[int] = []

    def stop(done: int, total: int) -> None:
        seen.append(done)
        if done > after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render(tmp_path / "w", stop)
    assert [p.name for p in tmp_path.iterdir()] == ["w"]
    report = render(tmp_path / "w", lambda done, total: seen.append(done))
    assert report.num_scenes_before == after // 3  # three images each
    assert seen == [*range(1, after + 2), *range(after // 3 * 3 or 1, 13)]
    assert files(tmp_path / "w") == files(whole)


@pytest.mark.parametrize("function", ["_move", "put"])
def test_an_interrupted_end_is_repeated(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    """The first, second, ... call does not return: tables, sums and moves are done again."""
    from nightrain.datasets.world.export import world_folder

    place = world_folder if function == "_move" else world_folder.WorldFolder
    real, calls = getattr(place, function), []

    def interrupted(*arguments: object) -> None:
        calls.append(1)
        real(*arguments)
        if len(calls) == interrupted_call:
            raise KeyboardInterrupt

    for interrupted_call in (2, 3) if function == "_move" else (2,):
        calls.clear()
        out = tmp_path / str(interrupted_call)
        with monkeypatch.context() as patch:
            patch.setattr(place, function, interrupted)
            with pytest.raises(KeyboardInterrupt):
                render(out)
        assert not (out / VERSION).exists()
        render(out)
        assert files(out) == files(whole)


def test_a_killed_world_is_resumed_by_the_same_command(whole: Path, tmp_path: Path) -> None:
    """Scenes are really rendered here, in two processes."""
    out = tmp_path / "w"
    code = [sys.executable, "-m", "nightrain.flows.cli", "world", "--out", str(out), *COMMAND]
    code += ["--processes", "2"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(code, **quiet)  # type: ignore[call-overload]
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(out.glob("_scenes/world-*")):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = {p.name for p in out.glob("_scenes/world-*")}
    assert kept
    done = subprocess.run(code, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "from an earlier run" in done.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["w"]
    assert files(out) == files(whole)


def test_a_whole_world_is_left_as_it_is(whole: Path) -> None:
    before = {name: os.stat(whole / name).st_mtime_ns for name in files(whole)}
    report = render(whole)
    assert report.num_scenes == report.num_scenes_before == 4 and not report.failed
    assert report.num_images == 12 and report.num_lidar_sweeps == 4
    assert before == {name: os.stat(whole / name).st_mtime_ns for name in files(whole)}
    assert {p.name for p in whole.iterdir()} == WHOLE


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"seed": 5}, r"seed 4, not 5"),
        (
            {"frames": 2, "size": (64, 36)},
            r"num_keyframes 1, not 2; size \[32, 18\], not \[64, 36\]",
        ),
        ({"scenes": SPECS[:2]}, r"scenes of 4, not"),
        ({"truth": ("depth",)}, "truth"),
        ({"lidar_sweeps": True}, "lidar_sweeps False, not True"),
    ],
)
def test_another_world_does_not_mix_with_it(
    whole: Path, tmp_path: Path, changed: dict[str, Any], words: str
) -> None:
    options = {"scenes": SPECS, **OPTIONS, **changed}
    before = files(whole)
    with pytest.raises(InvalidRequest, match="new or an empty folder"):
        write_world(whole, **options)
    with pytest.raises(KeyboardInterrupt):
        render(tmp_path / "w", interrupt)
    with pytest.raises(InvalidRequest, match=f"another world, which is unfinished .*{words}"):
        write_world(tmp_path / "w", **options)
    assert files(whole) == before


def interrupt(done: int, total: int) -> None:
    raise KeyboardInterrupt


def test_a_damaged_description_is_refused(tmp_path: Path) -> None:
    (tmp_path / "_scenes").mkdir()
    (tmp_path / "_scenes" / "world.json").write_text("[]")
    with pytest.raises(InvalidRequest, match="not a valid description of a world"):
        render(tmp_path)


def damage(path: Path) -> None:
    """Change the last digit, which is in the record's body, so that the file still parses."""
    data = path.read_bytes()
    place = max(i for i, byte in enumerate(data) if byte in b"123456789")
    path.write_bytes(
        data[:place] + (b"2" if data[place : place + 1] != b"2" else b"3") + data[place + 1 :]
    )


def test_a_scene_with_a_damaged_record_is_rendered_again(whole: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done > 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render(tmp_path / "w", stop)
    damage(tmp_path / "w" / "_scenes" / NAMES[0] / "record.json")
    (tmp_path / "w" / "_scenes" / NAMES[1] / "record.json").write_text("")
    assert render(tmp_path / "w").num_scenes == 4
    assert files(tmp_path / "w") == files(whole)


def test_a_changed_description_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        render(tmp_path / "w", interrupt)
    damage(tmp_path / "w" / "_scenes" / "world.json")
    with pytest.raises(InvalidRequest, match="it was changed after it was written"):
        render(tmp_path / "w")


def test_a_damaged_table_is_one_sentence(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "w")
    (tmp_path / "w" / VERSION / "scene.json").write_text("[{")
    with pytest.raises(InvalidRequest, match=r"scene.json is not a valid table: .*Restore it"):
        render(tmp_path / "w")


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    refused: list[str] = []

    def meanwhile(done: int, total: int) -> None:
        with pytest.raises(InvalidRequest, match="another process is rendering") as caught:
            render(tmp_path / "w")
        refused.append(str(caught.value))

    render(tmp_path / "w", meanwhile)
    assert len(refused) == 12


def test_a_reader_of_an_unfinished_world_gets_a_sentence(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done > 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render(tmp_path / "w", stop)
    with pytest.raises(BrokenSource, match=r"unfinished world: 1 scenes are rendered.*to finish"):
        WorldConfig(root=tmp_path / "w").open()


# Failing scenes


def test_a_scene_that_fails_is_set_aside_and_tried_again(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "w"
    with monkeypatch.context() as patch:
        failing(patch, "world-0001")
        report = render(out)
    (failed,) = report.failed
    assert (failed.name, failed.place, failed.condition) == ("world-0001", 1, "clear")
    assert failed.error == "IndexError: index -2147483648 in world-0001"
    assert json.loads((out / "failed_scenes.json").read_text())[0]["name"] == "world-0001"
    assert report.num_scenes == 3 and scenes(out) == [n for n in NAMES if n != "world-0001"]
    assert not list(out.rglob("*world-0001__*")) and {p.name for p in out.iterdir()} == {
        *WHOLE,
        "failed_scenes.json",
        "_scenes",
    }
    source = WorldConfig(root=out).open()  # its place has its map and log nonetheless
    assert [source.load(ref).scene_id for ref in source.select("all")] == report_names(out)
    report = render(out)
    assert report.num_scenes_before == 3 and not report.failed
    assert files(out) == files(whole) and {p.name for p in out.iterdir()} == WHOLE


def report_names(out: Path) -> list[str]:
    return sorted(scenes(out))


def test_a_scene_that_fails_again_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "world-0000-rain", "world-0001-rain")
    render(tmp_path / "w")
    before = files(tmp_path / "w")
    report = render(tmp_path / "w")
    assert [scene.name for scene in report.failed] == ["world-0000-rain", "world-0001-rain"]
    assert files(tmp_path / "w") == before


def test_a_world_without_a_scene_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, *NAMES)
    with pytest.raises(NightrainError, match=r"No scene could be rendered: world-0000 .*4 in all"):
        render(tmp_path / "w")
    assert len(json.loads((tmp_path / "w" / "failed_scenes.json").read_text())) == 4
    with pytest.raises(BrokenSource, match="unfinished world"):
        WorldConfig(root=tmp_path / "w").open()


def test_the_command_says_which_scenes_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "world-0001-rain")
    arguments = ["world", "--out", str(tmp_path / "w"), *COMMAND]
    environment = {"COLUMNS": "300", "NO_COLOR": "1"}
    done = CliRunner().invoke(app, arguments, env=environment)
    assert done.exit_code == 3
    words = " ".join(done.output.split())
    assert "failed world-0001-rain: IndexError: index -2147483648 in world-0001-rain" in words
    assert "1 of 4 scenes could not be rendered" in words and "failed_scenes.json" in words
    monkeypatch.undo()
    done = CliRunner().invoke(app, arguments, env=environment)
    assert done.exit_code == 0 and "4 scenes (2 clear, 2 rain)" in done.output
    assert "3 scenes from an earlier run" in done.output
    assert writer.VERSION in os.listdir(tmp_path / "w")
