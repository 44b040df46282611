"""A source that grows: everything downstream makes what is new, and only that."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from nightrain.flows.cli import app
from support.sources import kitti
from support.sources import nuscenes as fixture
from support.synthetic import all_rows
from support.tiny_depth_models import save_teacher

RECIPE = "name: still\nconditions: {fog: {lowest: 0.2, highest: 0.4}}\n"
TRAIN, STANDING, VAL = fixture.SCENES[:3]
Run = Callable[..., dict]


def run(*arguments: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


def report(*arguments: object) -> dict:
    printed = run(*arguments, "--json")
    return json.loads(printed[printed.index("{") : printed.rindex("}") + 1])


def num_rows(found: dict) -> int:
    return sum(table["num_rows"] for table in found["tables"].values())


def test_each_step_makes_only_what_is_new(tmp_path: Path) -> None:
    teacher = save_teacher(tmp_path / "teacher", seed=0)
    (tmp_path / "still.yaml").write_text(RECIPE)
    source, out = tmp_path / "in", tmp_path / "out"
    steps = (
        ("ingest", "nuscenes", source, "--split", "all", "--out", out),
        ("caption", out, "--captioner", "metadata", "--runner", "local"),
        ("generate", out, "--recipe", tmp_path / "still.yaml", "--runner", "local"),
        ("label", out, "--teacher", teacher, "--device", "cpu", "--runner", "local"),
    )
    seen: dict[str, bytes] = {}
    for scenes, made in (
        ((TRAIN,), [6, 6, 6, 6]),
        ((TRAIN, STANDING), [6, 6, 6, 6]),
        ((TRAIN, STANDING), [0, 0, 0, 0]),
        ((TRAIN, STANDING, VAL), [6, 6, 0, 0]),  # no variants and labels of val scenes
    ):
        fixture.build(source, scenes=scenes)
        assert [num_rows(report(*step)) for step in steps] == made
        files = {str(p): p.read_bytes() for p in out.rglob("*.parquet")}
        assert seen.items() <= files.items()
        seen = files
    assert "accepted" in run("verify", out)
    stats = report("stats", out)
    assert {name.partition("/")[0]: t["num_rows"] for name, t in stats["tables"].items()} == {
        "frames": 18,
        "captions": 18,
        "variants": 12,
        "labels": 12,
    }
    assert stats["sources"]["nuscenes"]["by_split"] == {"train": 12, "val": 6}
    assert report("leakage", out, "--allow-near-duplicates")["num_held_out"] == 6


def test_a_frame_keeps_the_neighbours_that_it_was_read_with(tmp_path: Path) -> None:
    """A frame that was the last of its drive does not get a next image by growth."""
    root, out = kitti.build(tmp_path / "in"), tmp_path / "out"
    command = ("ingest", "kitti", root, "--out", out)
    images = sorted((root / kitti.DATE / kitti.DRIVE / "image_02" / "data").iterdir())
    stamps = images[0].parents[1] / "timestamps.txt"
    lines = stamps.read_text().splitlines()
    last = images[-1].read_bytes()
    images[-1].unlink()
    stamps.write_text("\n".join([*lines[:-1], ""]))
    run(*command)
    images[-1].write_bytes(last)
    stamps.write_text("\n".join([*lines, ""]))
    assert num_rows(report(*command)) == 1
    rows = sorted(all_rows(out, "frames").values(), key=lambda row: row["timestamp_us"])
    has_next = [row["next_id"] is not None for row in rows]
    assert has_next == [True] * (len(rows) - 2) + [False, False]
    assert rows[-1]["previous_id"] == rows[-2]["source_id"]


def test_kitti_without_lists_is_read_trained_on_and_scored(tmp_path: Path) -> None:
    from nightrain.pipelines.depth.train_job import TrainJob

    root, out = kitti.build(tmp_path / "in"), tmp_path / "out"
    command = ("ingest", "kitti", root, "--out", out)
    refused = run(*command, "--split", "train", code=2)
    assert "frames of split none" in refused and "--split all" in refused
    number = num_rows(report(*command, "--split", "none"))
    assert number == len(all_rows(out, "frames"))

    job = TrainJob(preset="real-overfit", dataset=out, out=tmp_path / "run")
    assert job.config().data.split == "none"
    explicit = job.model_copy(update={"split": "val"})
    assert explicit.config().data.split == "val" and "--split val" in explicit.command
    scored = ("evaluate", "median-depth", out, "--out", tmp_path / "e", "--runner", "local")
    assert "none image_02" in run(*scored, "--split", "val", code=2).replace("\n", " ")
    assert report(*scored) == report(*scored, "--split", "none")


@pytest.mark.parametrize("command", ["ingest", "train", "evaluate"])
def test_a_split_that_does_not_exist_is_refused_before_anything_is_read(
    command: str, tmp_path: Path
) -> None:
    arguments = {
        "ingest": ("ingest", "nuscenes", tmp_path, "--out", tmp_path / "out"),
        "train": ("train", "real-overfit", tmp_path, "--out", tmp_path / "run"),
        "evaluate": ("evaluate", "median-depth", tmp_path),
    }[command]
    printed = run(*arguments, "--split", "mini_train", code=2)
    assert "--split is 'mini_train'; expected 'train', 'val', 'test', 'none' or 'all'" in printed


def test_what_a_filter_left_out_is_printed(tmp_path: Path) -> None:
    folder = fixture.build(tmp_path / "in")
    printed = run("ingest", "nuscenes", folder.root, "--out", tmp_path / "out")
    assert "left out  6 night frames: train uses clear frames only" in printed
    assert "left out  18 frames of split val" in printed
    run("ingest", "nuscenes", folder.root, "--split", "val", "--out", tmp_path / "out")
    (tmp_path / "still.yaml").write_text(RECIPE)
    made = run(
        "generate", tmp_path / "out", "--recipe", tmp_path / "still.yaml", "--runner", "local"
    )
    assert "--include-evaluation-scenes" in made and "left out  6 frames of val scenes" in made
    none = fixture.build(tmp_path / "night", scenes=fixture.SCENES[5:])
    refused = run("ingest", "nuscenes", none.root, "--out", tmp_path / "n", code=2)
    assert "Left out: 6 night frames" in refused


def test_the_version_is_printed() -> None:
    from importlib.metadata import version

    assert run("--version").strip() == f"nightrain {version('nightrain')}"
