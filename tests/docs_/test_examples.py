"""Every file in examples/ does what its first line says."""

import ast
import inspect
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nightrain.datasets.io.images import decode_depth_png, decode_jpeg
from nightrain.datasets.shards.manifest import FRAMES, Manifest
from support.paths import ROOT
from support.synthetic import all_rows

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def test_there_are_examples_and_each_says_how_to_run_it() -> None:
    assert len(EXAMPLES) >= 3
    for path in EXAMPLES:
        docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
        assert f"python examples/{path.name}" in docstring, path.name


def test_read_shards_needs_no_nightrain_and_reads_with_every_library(
    generated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import read_shards

    text = Path(read_shards.__file__).read_text()
    assert "import nightrain" not in text and "from nightrain" not in text
    read_shards.main(generated)
    printed = capsys.readouterr().out
    assert "│ night " in printed and "│ rain " in printed and "ambient_lux" in printed
    assert "(2, 3, 40, 64)" in printed


def test_torch_dataset_reads_what_is_committed_without_nightrain(
    generated: Path, tmp_path: Path
) -> None:
    """Equal arrays, in a process that cannot import nightrain; a file of no entry is not read."""
    root = tmp_path / "dataset"
    shutil.copytree(generated, root)
    (shard, *_) = sorted(root.glob("variants/*/night/*.parquet"))
    shutil.copy(shard, shard.with_name("00007.parquet"))
    blocked = "import sys; sys.modules['nightrain'] = None; sys.path.insert(0, sys.argv[3])\n"
    code = blocked + inspect.getsource(save_samples) + "save_samples(*sys.argv[1:3])\n"
    command = [sys.executable, "-c", code, str(root), str(tmp_path), str(ROOT / "examples")]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    variants, frames = all_rows(root, "variants"), all_rows(root, FRAMES)
    assert len(list(tmp_path.glob("*.npz"))) == len(variants) == 8
    for number, row in enumerate(read_in_order(root)):
        found, frame = np.load(tmp_path / f"{number}.npz"), frames[row["frame_id"]]
        clear, variant = (decode_jpeg(one["image"]["bytes"]) for one in (frame, row))
        assert np.array_equal(found["clear"], clear.transpose(2, 0, 1) / np.float32(255))
        assert np.array_equal(found["variant"], variant.transpose(2, 0, 1) / np.float32(255))
        assert np.array_equal(found["depth_m"], decode_depth_png(frame["exact_depth"]["bytes"]))
        assert found["depth_m"].dtype == np.float32 and found["depth_m"].any()
        assert found["intrinsics"].ravel().tolist() == frame["intrinsics"]
        assert found["variant_intrinsics"].ravel().tolist() == row["intrinsics"]
        assert str(found["condition"]) == row["condition"]


def save_samples(root: str, out: str) -> None:
    """Save every sample of the example's dataset; its source runs where nightrain is missing."""
    from pathlib import Path

    import numpy as np
    import torch_dataset

    torch_dataset.main(Path(root))
    for number, sample in enumerate(torch_dataset.VariantDataset(Path(root))):
        np.savez(f"{out}/{number}.npz", **sample)
    night = torch_dataset.VariantDataset(Path(root), ("night",))
    assert {sample["condition"] for sample in night} == {"night"}


def read_in_order(root: Path) -> list[dict[str, Any]]:
    """Variants as nightrain reads them, in the order of tables, shards and rows."""
    manifest = Manifest(root)
    entries = [e for table in manifest.tables("variants") for e in manifest.entries(table)]
    return [row for e in entries for row in manifest.reader(e.rows).rows()]


def test_train_student_learns(generated: Path) -> None:
    import train_student

    losses = train_student.train(generated, "weather-demo", num_steps=6)
    assert len(losses) == 6 and min(losses[1:]) < losses[0]


PLUGINS = ROOT / "examples/plugins"


def test_plugins_generate_gate_and_ingest(
    plugins: None, generated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder of JPEGs becomes frames, the engine makes dusk of them, and the gate judges it."""
    dataset = ingested_folder(generated, tmp_path)
    assert command("generate", dataset, "--recipe", PLUGINS / "dusk.yaml", "--runner", "local") == 0
    rows = list(all_rows(dataset).values())
    assert len(rows) == 4 and {row["condition"] for row in rows} == {"dusk"}
    assert json.loads(rows[0]["provenance"])["warmth"] == "0.4"
    assert json.loads(rows[0]["gate_scores"])["exposure"]["mean"] > 8
    strict = tmp_path / "strict.yaml"
    strict.write_text((PLUGINS / "dusk.yaml").read_text().replace("lowest: 8}]", "lowest: 255}]"))
    command("generate", dataset, "--recipe", strict, "--runner", "local")
    assert len(all_rows(dataset)) == 4
    rejected = quarantined(dataset)
    assert len(rejected) == 4 and "mean level" in rejected[0]["message"]


def test_own_network_trains_and_loads_again(
    generated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import own_network

    model = own_network.main(generated, tmp_path / "run", num_steps=2)
    assert type(model.decoder).__name__ == "SumDecoder"
    metrics = (tmp_path / "run/metrics.jsonl").read_text()
    assert "own_network:AbsRel" in metrics


def ingested_folder(generated: Path, tmp_path: Path) -> Path:
    """The images and depths of the dataset as a folder, read by the source `folder`."""
    folder, dataset = tmp_path / "images", tmp_path / "dataset"
    folder.mkdir()
    for name, row in all_rows(generated, "frames").items():
        (folder / f"{name}.jpg").write_bytes(row["image"]["bytes"])
        (folder / f"{name}.depth.png").write_bytes(row["lidar_depth"]["bytes"])
        camera = {"intrinsics": np.reshape(row["intrinsics"], (3, 3)).tolist(), "licence": "CC0"}
        (folder / "camera.json").write_text(json.dumps(camera))
    assert command("ingest", "jpegs", folder, "--out", dataset, "--runner", "local") == 0
    assert len(all_rows(dataset, "frames")) == 4
    return dataset


def quarantined(dataset: Path) -> list[dict[str, Any]]:
    manifest = Manifest(dataset)
    entries = [e for table in manifest.tables("variants") for e in manifest.entries(table)]
    return [r for e in entries if e.quarantine for r in manifest.reader(e.quarantine).rows()]


def command(*arguments: object) -> int:
    from click.testing import CliRunner

    from nightrain.flows.cli import app

    return CliRunner().invoke(app, [str(argument) for argument in arguments]).exit_code
