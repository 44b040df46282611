"""`ingest`, `protocol`, `leakage` and `stats` of what was ingested, as a user meets them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nightrain.flows.cli import main
from support.paths import REAL_DATA
from support.sources import nuscenes as fixture
from support.sources.nuscenes import NuScenesFolder, token_of
from support.synthetic import SyntheticSource, ingest_synthetic

Nightrain = Callable[..., str]
TRAIN, VAL = fixture.SCENES[0], fixture.SCENES[2]

DATA = REAL_DATA


@pytest.fixture
def nightrain(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Nightrain:
    """Run the command in this process, check its exit code, and give what it printed."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: str | Path, code: int = 0) -> str:
        monkeypatch.setattr("sys.argv", ["nightrain", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert (ended.value.code or 0) == code, printed.out + printed.err
        return printed.out if code == 0 else printed.out + printed.err

    return run


@pytest.fixture
def folder(tmp_path: Path) -> NuScenesFolder:
    """Six frames of a train scene and six of a val scene, cut out of one log."""
    return fixture.build(tmp_path / "in", scenes=[TRAIN, VAL], exact_depth=None)


def ingest(folder: NuScenesFolder, out: Path) -> tuple[str | Path, ...]:
    return ("ingest", "nuscenes", folder.root, "--split", "all", "--out", out)


def as_json(printed: str) -> dict:
    return json.loads(printed[: printed.rindex("}") + 1])


def test_damaged_frames_are_listed_and_decide_the_exit_code(
    nightrain: Nightrain, folder: NuScenesFolder, tmp_path: Path
) -> None:
    image = folder.file(token_of(TRAIN.name, "CAM_FRONT", 3))
    whole = image.read_bytes()
    image.write_bytes(whole[:300])
    folder.file(token_of(VAL.name, "CAM_BACK", 6)).unlink()
    out = tmp_path / "out"

    printed = nightrain(*ingest(folder, out), code=3)
    assert "committed frames: 10 frames" in printed
    assert "undecodable_image: scene-0061 CAM_FRONT scene-0061-CAM_FRONT-3: image" in printed
    assert "missing_file: scene-0103 CAM_BACK" in printed
    assert "2 frames could not be read" in printed and "--retry-failed" in printed
    assert "warning   log n015 of nuscenes (train: scene-0061)" in printed

    report = as_json(nightrain(*ingest(folder, out), "--json", code=3))  # nothing new to read
    assert report["tables"] == {} and [f["earlier"] for f in report["bad_frames"]] == [True, True]
    assert {f["reason"] for f in report["bad_frames"]} == {"undecodable_image", "missing_file"}
    assert all(f["frame_id"] and f["message"] for f in report["bad_frames"])
    skipped = nightrain(*ingest(folder, out), "--skip-bad", code=3)  # too many to skip silently
    assert "2 of 12 rows are in quarantine (16.7 %; at most 5 % are accepted)" in skipped
    assert "1 missing_file (a file is missing; for example: " in skipped
    accepted = ("--skip-bad", "--max-quarantined", "20%")
    assert "They were skipped" in nightrain(*ingest(folder, out), *accepted)

    image.write_bytes(whole)
    mended = nightrain(*ingest(folder, out), "--retry-failed", *accepted)
    assert "committed frames: 1 frames" in mended and "1 frames could not be read" in mended
    stats = json.loads(nightrain("stats", out, "--json"))["sources"]["nuscenes"]
    assert stats["num_frames"] == 11 and stats["num_quarantined"] == 1
    assert "accepted" in nightrain("verify", out)


def test_only_the_first_twenty_bad_frames_are_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from nightrain.datasets.shards.frame_plan import BadFrame
    from nightrain.flows.cli.console import ingest_exit_code, print_bad_frames
    from nightrain.pipelines.runs.run import RunReport

    names = {"source_id": "x", "scene_id": "s", "camera": "c", "reason": "r", "shard": "frames/0"}
    bad = [BadFrame(frame_id=f"id-{i}", message="[red]m", **names) for i in range(23)]
    report = RunReport(bad_frames=bad)
    assert ingest_exit_code(report, 0, False) == 3 and ingest_exit_code(report, 0, True) == 0
    assert ingest_exit_code(RunReport(unplaced=["x"]), 0, False) == 3
    assert ingest_exit_code(RunReport(bad_frames=bad, stopped=True), 143, True) == 143
    assert ingest_exit_code(RunReport(failed=["frames/0: x"]), 0, True) == 3
    monkeypatch.setenv("NO_COLOR", "1")
    print_bad_frames(report, Path("out"), False)
    printed = capsys.readouterr().out
    assert "id-19" in printed and "id-20" not in printed and "and 3 more" in printed
    assert "[red]m" in printed  # words of a file are no markup


def test_a_broken_source_is_one_sentence(
    nightrain: Nightrain, folder: NuScenesFolder, tmp_path: Path
) -> None:
    (folder.root / folder.version / "ego_pose.json").unlink()
    assert "lacks ego_pose.json" in nightrain(*ingest(folder, tmp_path / "out"), code=2)
    wrong = (*ingest(folder, tmp_path / "out"), "--frames", "some")
    assert "expected 'keyframes', 'sweeps' or 'all'" in nightrain(*wrong, code=2)


@pytest.mark.slow
def test_world_with_workers_and_a_log_on_both_sides(nightrain: Nightrain, tmp_path: Path) -> None:
    folder = fixture.build(tmp_path / "in", "v1.0-world", [TRAIN, VAL])
    command = ("ingest", "world", folder.root, "--out", tmp_path / "out", "--workers", "2")
    refused = nightrain(*command, code=2)
    assert "log n015 of world" in refused and "--allow-shared-logs" in refused
    assert not (tmp_path / "out" / "frames").exists()
    assert "12 frames in 2 shards" in nightrain(*command, "--allow-shared-logs")

    leak = nightrain("leakage", tmp_path / "out", code=3)
    assert "leak     log n015 of world" in leak and "1 by log" in leak
    assert "disjoint (allowed overlaps: 1)" in nightrain(
        "leakage", tmp_path / "out", "--allow-shared-logs"
    )


def test_leakage_between_two_datasets(nightrain: Nightrain, tmp_path: Path) -> None:
    ingest_synthetic(tmp_path / "a", SyntheticSource(4, name="mine"))
    ingest_synthetic(tmp_path / "b", SyntheticSource(2, split="test", name="theirs"))
    assert "nothing to compare" in nightrain("leakage", tmp_path / "a")
    both = ("leakage", tmp_path / "a", tmp_path / "b")
    report = as_json(nightrain(*both, "--json", code=3))
    assert report["num_train"] == 4 and report["num_held_out"] == 2 and not report["disjoint"]
    assert [o["bits"] for o in report["overlaps"]] == [0, 0]
    assert "allowed" in nightrain(*both, "--allow-near-duplicates")


def test_protocol_says_what_differs_and_succeeds(
    nightrain: Nightrain, folder: NuScenesFolder
) -> None:
    printed = nightrain("protocol", "nuscenes", folder.root)
    assert "hold 2 of 850 scenes" in printed and "15,129" in printed
    report = json.loads(nightrain("protocol", "nuscenes", folder.root, "--json"))
    here = {c["name"]: c["here"] for c in report["counts"] if c["here"]}
    assert here == {
        "train day-clear scenes": 1,
        "val day-clear scenes": 1,
        "train day-clear moving frames": 1,  # of CAM_FRONT; the ends of the scene lack a neighbour
        "val day-clear frames": 3,
    }
    assert not report["agrees"]


def test_stats_say_what_the_frames_are(
    nightrain: Nightrain, folder: NuScenesFolder, tmp_path: Path
) -> None:
    nightrain(*ingest(folder, tmp_path / "out"))
    ingest_synthetic(tmp_path / "out", SyntheticSource(3))
    report = json.loads(nightrain("stats", tmp_path / "out", "--json"))["sources"]
    nuscenes, synthetic = report["nuscenes"], report["synthetic"]
    assert nuscenes["num_scenes"] == 2 and nuscenes["num_logs"] == 1
    assert nuscenes["by_split_and_condition"] == {"train": {"clear": 6}, "val": {"clear": 6}}
    assert nuscenes["by_camera"] == {"CAM_BACK": 6, "CAM_FRONT": 6}
    assert nuscenes["by_size"] == {"128x72": 12} and nuscenes["by_depth"] == {"LiDAR": 12}
    assert nuscenes["by_neighbours"] == {"t+1": 4, "t-1": 4, "t-1 and t+1": 4}
    assert synthetic["by_depth"] == {"LiDAR and exact": 3}
    assert synthetic["by_neighbours"] == {"none": 3} and synthetic["by_size"] == {"64x40": 3}
    printed = nightrain("stats", tmp_path / "out")
    assert "nuscenes: 12 frames of 2 scenes in 1 logs" in printed
    assert "depth       LiDAR and exact 3" in printed


@pytest.mark.skipif(not (DATA / "kitti").exists(), reason="no real frames beside this checkout")
def test_real_kitti_and_robotcar_are_ingested(nightrain: Nightrain, tmp_path: Path) -> None:
    out, robotcar = tmp_path / "out", DATA / "robotcar"
    nightrain("ingest", "kitti", DATA / "kitti", "--split", "all", "--out", out)
    command = ("ingest", "robotcar", robotcar, "--sdk", robotcar / "sdk", "--out", out)
    nightrain(*command, "--split", "all")
    sources = json.loads(nightrain("stats", out, "--json"))["sources"]
    assert sources["kitti"]["num_frames"] == 25 and sources["kitti"]["by_depth"]["LiDAR"] == 9
    assert sources["robotcar"]["by_size"] == {"1280x768": 1}
    splits = ("--splits", robotcar / "splits")
    absent = nightrain(*command, "--split", "test", *splits, code=2)
    assert "1411 frames are listed" in absent and "--skip-bad" in absent
    protocol = ("protocol", "robotcar", robotcar, "--sdk", robotcar / "sdk", *splits, "--json")
    here = [c["here"] for c in json.loads(nightrain(*protocol))["counts"]]
    assert here[:3] == [702, 709, 17_790]


def test_a_folder_on_another_disk_is_named_and_can_be_allowed(
    nightrain: Nightrain, folder: NuScenesFolder, tmp_path: Path
) -> None:
    disk = tmp_path / "disk2"
    disk.mkdir()
    (folder.root / "samples").rename(disk / "samples")
    (folder.root / "samples").symlink_to(disk / "samples")
    said = nightrain(*ingest(folder, tmp_path / "refused"), code=3)
    assert f"samples is a symlink to {disk / 'samples'}" in said and "--allow-root" in said
    for number, option in enumerate((("--allow-root", disk), ("--follow-links",))):
        out = tmp_path / f"out{number}"
        nightrain(*ingest(folder, out), *option)
        assert sum(1 for _ in (out / "frames").glob("*.parquet"))
        assert not (out / "quarantine").exists()
