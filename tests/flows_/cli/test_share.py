"""`export`, `card` and `upload` as a user meets them."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from nightrain.depthmodel.network.model import DepthModel
from nightrain.pipelines.export import model_job
from support.command import Command
from support.loader import make_root
from support.synthetic import SyntheticSource, ingest_synthetic
from support.tiny_depth_models import save_teacher


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path)


def test_a_dataset_is_exported_once(root: Path, tmp_path: Path, nightrain: Command) -> None:
    line = ("export", "dataset", root, "--to", "folders", "--out", tmp_path / "out")
    code, said = nightrain(*line, "--labels", "tiny", "--condition", "night")
    assert code == 0 and "wrote 30 of 30 images" in said
    assert "10 frames and 20 variants" in said and "images/s" in said and "MB/s" in said
    code, said = nightrain(*line, "--labels", "tiny", "--condition", "night")
    assert code == 0 and "30 of them before" in said and "images/s" not in said
    code, said = nightrain(*line, "--condition", "fog")
    assert code == 2 and "holds another export" in said
    code, said = nightrain(*line[:5], "--out", tmp_path / "json", "--json")
    report = json.loads(said)
    assert code == 0 and report["num_rows"] == 50 and report["num_variants"] == 40


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--to", "hdf5"), "folders"),
        (("--to", "folders", "--labels", "nobody"), "it has: tiny"),
        (("--to", "folders", "--depth", "label"), "needs --labels"),
        (("--to", "folders", "--recipe", "nothing"), "no variants called 'nothing'"),
        (("--to", "md4all"), "md4all reads nuScenes or RobotCar"),
    ],
)
def test_what_cannot_be_exported_is_said(
    root: Path, tmp_path: Path, nightrain: Command, arguments: tuple[str, ...], words: str
) -> None:
    code, said = nightrain("export", "dataset", root, "--out", tmp_path / "out", *arguments)
    assert code == 2 and words in said and not (tmp_path / "out").exists()


def test_a_folder_that_is_not_a_dataset_is_refused(tmp_path: Path, nightrain: Command) -> None:
    for line in (
        ("export", "dataset", tmp_path, "--to", "folders", "--out", tmp_path / "out"),
        ("card", tmp_path),
        ("upload", tmp_path, "ada/streets"),
    ):
        code, said = nightrain(*line)
        assert code == 2 and "holds no committed shards" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("default")  # torch's exporters use what torch itself has deprecated
@pytest.mark.parametrize("to", ["onnx", "torchscript"])
def test_a_network_is_exported_and_checked(
    tmp_path: Path, nightrain: Command, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = save_teacher(tmp_path / "teacher"), tmp_path / "model.bin"
    code, said = nightrain("export", "model", folder, "--to", to, "--out", out)
    assert code == 0 and "depth differs from the network's by at most" in said
    if to == "onnx":
        model = DepthModel.from_pretrained(folder)
        width, height = model.config.input_size
        session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
        image = np.zeros((1, 3, height, width), np.float32)
        (found,) = session.run(["inverse_depth"], {"image": image})
        assert found.shape == (1, 1, height, width) and (found > 0).all()
    out.unlink()
    monkeypatch.setattr(model_job, "TOLERANCE", -1.0)
    code, said = nightrain("export", "model", folder, "--to", to, "--out", out)
    assert code == 2 and "differs from the network's by up to" in said and not out.exists()


def test_a_file_that_cannot_be_checked_says_so(
    tmp_path: Path, nightrain: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_job, "_torchscript_runtime", lambda path: ("", None))
    folder = save_teacher(tmp_path / "teacher")
    line = ("export", "model", folder, "--to", "torchscript", "--out", tmp_path / "model.pt")
    code, said = nightrain(*line)
    assert code == 0 and "not checked" in said and (tmp_path / "model.pt").exists()


def test_a_card_names_its_configurations(root: Path, nightrain: Command) -> None:
    code, said = nightrain("card", root)
    assert code == 0 and "variants (default): variants/" in said and "test-night:" in said
    before = {name: (root / name).stat().st_mtime_ns for name in ("README.md", "croissant.json")}
    code, said = nightrain("card", root, "--json")
    assert next(iter(json.loads(said)["configs"])) == "variants"
    assert {name: (root / name).stat().st_mtime_ns for name in before} == before


def test_an_upload_looks_at_licences_first(tmp_path: Path, nightrain: Command) -> None:
    root = tmp_path / "dataset"
    ingest_synthetic(root, SyntheticSource(2, licence="CC-BY-NC-SA-4.0"))
    code, said = nightrain("upload", root, "ada/streets", "--dry-run")
    assert code == 2 and "CC-BY-NC-SA-4.0" in said and "--may-share" in said
    code, said = nightrain("upload", root, "ada/streets", "--dry-run", "--may-share")
    assert code == 0 and "would send" in said and "to ada/streets" in said
    code, said = nightrain("upload", root, "streets", "--dry-run")
    assert code == 2 and "REPO_ID" in said
