"""The command line, as a user meets it: output, JSON, exit codes."""

import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from PIL import Image

from nightrain.flows.cli import main
from support.synthetic import SyntheticSource, ingest_synthetic

RECIPE = """
name: cli
depth: exact
conditions:
  fog: {lowest: 0.2, highest: 0.8}
  night: {lowest: 0.2, highest: 0.8}
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return str(path)


def nightrain(*arguments: str | Path, code: int = 0) -> str:
    """Run the command here, check its exit code, and give what it printed on standard output."""
    out, err = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["nightrain", *map(str, arguments)])
        patch.setenv("COLUMNS", "200")
        patch.setenv("NO_COLOR", "1")
        with pytest.raises(SystemExit) as ended:
            main()
    return checked(out.getvalue(), err.getvalue(), ended.value.code or 0, code)


def nightrain_in_a_process(*arguments: str | Path, code: int = 0) -> str:
    """The same in a process of its own, as a shell runs it."""
    run = subprocess.run(
        [sys.executable, "-m", "nightrain.flows.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
    )
    return checked(run.stdout, run.stderr, run.returncode, code)


def checked(out: str, err: str, found: object, expected: int) -> str:
    assert found == expected, out + err
    assert "Traceback" not in err
    return out if expected == 0 else out + err


def local(dataset: Path, recipe: str) -> tuple[str | Path, ...]:
    return ("generate", dataset, "--recipe", recipe, "--runner", "local")


def test_the_way_of_a_dataset(dataset: Path, recipe_file: str, tmp_path: Path) -> None:
    estimate = json.loads(nightrain("plan", dataset, "--recipe", recipe_file, "--json"))
    assert estimate["num_variants"] == 20 == estimate["num_variants_left"]
    assert estimate["hours"] > 0 and estimate["gigabytes"] > 0
    assert "variants/s measured" in nightrain("plan", dataset, "--recipe", recipe_file)

    sheet = tmp_path / "sheet.png"
    nightrain("preview", dataset, "--recipe", recipe_file, "--out", sheet, "--frames", "3")
    with Image.open(sheet) as picture:  # clear, depth, fog, night; three lines
        assert picture.width > 4 * 380 and picture.height > 3 * 200

    assert "10 variants in 3 shards" in nightrain_in_a_process(*local(dataset, recipe_file))
    again = json.loads(nightrain(*local(dataset, recipe_file), "--json"))
    assert again["tables"] == {} and again["num_already"] == 6
    done = json.loads(nightrain("plan", dataset, "--recipe", recipe_file, "--json"))
    assert done["num_variants_left"] == 0

    assert "accepted: 9 shards, 30 rows" in nightrain("verify", dataset)
    stats = json.loads(nightrain("stats", dataset, "--json"))
    night = next(t for name, t in stats["tables"].items() if name.endswith("night"))
    assert night["by_condition"] == {"night": 10} and night["severity"]["lowest"] >= 0.2
    assert night["luminance"]["mean"] < stats["tables"]["frames"]["luminance"]["mean"]
    assert abs(sum(stats["depth_share"]) - 1) < 1e-9
    printed = nightrain("stats", dataset)
    assert "LiDAR depth" in printed and "visibility_m" in printed


def test_damage_is_exit_code_3(dataset: Path) -> None:
    path = next((dataset / "frames").glob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-1])
    said = nightrain_in_a_process("verify", dataset, code=3)
    assert "damaged  frames/00000.parquet" in said and "1 problem: " in said
    path.unlink()
    said = nightrain("verify", dataset, code=3)
    assert "frames/00000.parquet: the file is missing" in said and "nightrain repair" in said
    report = nightrain("verify", dataset, "--json", code=3)
    assert json.loads(report[: report.rindex("}") + 1])["problems"]


def test_what_is_refused_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "nightrain ingest" in nightrain_in_a_process("generate", empty, code=2)
    assert "no recipe 'hail'" in nightrain("generate", empty, "--recipe", "hail", code=2)
    ingest_synthetic(tmp_path / "val", SyntheticSource(num_frames=2, split="val"))
    assert "--include-evaluation-scenes" in nightrain("generate", tmp_path / "val", code=2)
    assert "'prefect' or 'local'" in nightrain("generate", empty, "--runner", "ray", code=2)
    nightrain("stats", tmp_path / "absent", code=2)
    for name in ("stats", "verify"):
        assert "holds no committed shards" in nightrain(name, empty, code=2)
    absent = nightrain("ingest", "world", tmp_path / "absent", "--out", tmp_path / "o", code=2)
    assert "ROOT is" in absent and "does not exist" in absent
    assert "--size is '0 pixels'" in nightrain(
        "world", "--out", tmp_path / "o", "--size", "0x0", code=2
    )
    assert not (tmp_path / "o").exists()


def test_quarantined_variants_are_named_and_retried(tmp_path: Path, recipe_file: str) -> None:
    root = tmp_path / "dataset"
    ingest_synthetic(root, SyntheticSource(num_frames=4, damaged=frozenset({2})))
    assert "accepted: 1 shard, 3 rows, 1 quarantined" in nightrain("verify", root)
    assert "3 variants" in nightrain(*local(root, recipe_file))
    assert (
        nightrain(*local(root, recipe_file), "--retry-failed")
        == "There are no variants to process\n"
    )


def test_captions_are_made_once(dataset: Path) -> None:
    command = ("caption", dataset, "--captioner", "metadata", "--runner", "local")
    assert "10 captions in 3 shards" in nightrain(*command)
    again = json.loads(nightrain(*command, "--json"))
    assert again["tables"] == {} and again["num_already"] == 3
    assert "blip2" in nightrain("caption", dataset, "--captioner", "parrot", code=2)
    assert "'prefect' or 'local'" in nightrain("caption", dataset, "--runner", "ray", code=2)


def test_a_gpu_limit_needs_a_server(dataset: Path, recipe_file: str) -> None:
    said = nightrain(*local(dataset, recipe_file), "--gpu-limit", "gpu-0", code=2)
    assert "use it with --runner prefect" in said


def test_doctor_says_what_is_here() -> None:
    checks = {c["name"]: c for c in json.loads(nightrain("doctor", "--json"))}
    assert checks["torch"]["ok"] and checks["prefect"]["ok"] and checks["packages"]["ok"]


def test_doctor_says_how_to_fix_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from nightrain.flows.runtime import diagnosis

    real = diagnosis.version
    monkeypatch.setattr(
        diagnosis, "version", lambda name: "0.28.0" if name == "torchvision" else real(name)
    )
    torch = diagnosis.TorchImport()
    check = diagnosis.check_torch(torch)
    torch.close()
    assert not check.ok and "was built for torch 2.14" in check.fix and "make setup" in check.fix
    monkeypatch.setattr(diagnosis, "NEEDED_FREE_GB", 1e9)
    assert "free at least" in diagnosis.check_disk(tmp_path / "not" / "yet").fix


@pytest.mark.slow
def test_world_to_dataset(tmp_path: Path) -> None:
    world, out = tmp_path / "world", tmp_path / "dataset"
    small = ("--scenes", "1", "--frames", "2", "--size", "96x64")
    nightrain("world", "--out", world, *small)
    assert "1 scene from an earlier run" in nightrain("world", "--out", world, *small)
    larger = ("--scenes", "1", "--frames", "3", "--size", "96x64")
    assert "new or an empty folder" in nightrain("world", "--out", world, *larger, code=2)
    ingest = ("ingest", "nuscenes", world, "--version", "v1.0-world", "--out", out)
    assert "2 frames" in nightrain(*ingest, "--split", "train")
    assert "1 shard was already committed" in nightrain(*ingest, "--split", "train")
    assert "expected WIDTHxHEIGHT" in nightrain("world", "--out", out, "--size", "9", code=2)
