"""The command `evaluate`, with the median picture and with a model that stands in for a network."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from nightrain.datasets.io.record import record_bytes
from nightrain.depthmodel.evaluation.results import read_evaluation
from nightrain.flows.cli import app
from support.evaluation import make_dataset
from support.synthetic import SyntheticSource, ingest_synthetic


class FakeModel:
    """What `evaluate` asks of a network; it predicts 10 m."""

    digest = "0123456789abcdef"
    config = SimpleNamespace(input_size=(32, 24))
    value_m = 10.0
    asked: tuple[Path, str] | None = None
    shapes: set[tuple[int, ...]] = set()  # noqa: RUF012

    @classmethod
    def from_pretrained(cls, folder: Path, device: str) -> "FakeModel":
        cls.asked = (folder, device)
        return cls()

    def predict(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        FakeModel.shapes |= {image.shape for image in images}
        return [np.full(image.shape[:2], self.value_m, np.float32) for image in images]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    module = ModuleType("nightrain.depthmodel.network.model")
    module.__dict__["DepthModel"] = FakeModel
    predict = ModuleType("nightrain.depthmodel.network.predict")
    predict.__dict__["predict"] = FakeModel.predict
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(sys.modules, predict.__name__, predict)
    folder = tmp_path / "student-7"
    folder.mkdir()
    return folder


def run(*arguments: object, code: int = 0) -> str:
    outcome = CliRunner(env={"COLUMNS": "80"}).invoke(app, ["evaluate", *map(str, arguments)])
    assert outcome.exit_code == code, outcome.output
    return outcome.output


def test_a_checkpoint_is_evaluated_at_its_own_size(model: Path, tmp_path: Path) -> None:
    root, out = make_dataset(tmp_path / "dataset"), tmp_path / "out"
    printed = run(model, root, "--out", out, "--device", "cpu", "--cap", "60")
    assert "day-clear" in printed and "no images" in printed and "0.1 to 60 m" in printed
    assert FakeModel.asked == (model, "cpu") and FakeModel.shapes == {(24, 32, 3)}

    found = read_evaluation(out)
    assert (found.model, found.model_digest) == ("student-7", FakeModel.digest)
    assert found.settings.caps_m == (60.0,) and found.score("night").num_images == 2
    tables = (out / "tables.md").read_text()
    assert tables.count("student-7: dataset val, lidar depth") == 4  # one cap, four scalings
    assert [t["scaling"] for t in json.loads((out / "tables.json").read_text())] == [
        "metric",
        "median",
        "metric-flip",
        "median-flip",
    ]
    with Image.open(out / "error-maps.png") as picture:
        assert picture.width > 4 * 360 and picture.height > 5 * 200


def test_json_is_the_evaluation(model: Path, tmp_path: Path) -> None:
    root, out = make_dataset(tmp_path / "dataset"), tmp_path / "out"
    args = (model, root, "--truth", "exact", "--pictures", "0", "--out", out, "--json")
    printed = json.loads(run(*args))
    assert printed["settings"]["truth"] == "exact" and "images" not in printed
    assert printed == json.loads((out / "evaluation.json").read_text())
    assert not (out / "error-maps.png").exists()


def test_the_median_picture_needs_no_network(dataset: Path, tmp_path: Path) -> None:
    ingest_synthetic(dataset, SyntheticSource(num_frames=3, split="val"))
    out = tmp_path / "median"
    run("median-depth", dataset, "--truth", "exact", "--out", out)
    metrics = read_evaluation(out).score("day-clear").metrics
    assert metrics is not None and metrics["abs_rel"].mean < 0.1


def test_protocols_come_by_name(model: Path, tmp_path: Path) -> None:
    root, out = make_dataset(tmp_path / "dataset"), tmp_path / "out"
    run(model, root, "--protocol", "md4all-nuscenes", "--out", out)
    settings = read_evaluation(out).settings
    assert (settings.protocol, settings.caps_m) == ("md4all-nuscenes", (80.0,))
    run(model, root, "--protocol", "md4all-robotcar", "--split", "val", "--out", out)
    settings = read_evaluation(out).settings
    assert settings.protocol == "md4all-robotcar with other split" and settings.caps_m == (50.0,)


def test_a_dataset_without_lists_is_scored_whole_and_says_so(tmp_path: Path) -> None:
    root, out = tmp_path / "dataset", tmp_path / "out"
    ingest_synthetic(root, SyntheticSource(num_frames=3, split="none"))
    printed = run("median-depth", root, "--out", out)
    assert "in no split list, so the model may have been trained on them" in printed
    settings = read_evaluation(out).settings
    assert (settings.protocol, settings.split) == ("own", "none")
    asked = run("median-depth", root, "--split", "val", "--out", out, code=2)
    assert "no frame of val" in asked and "3 of none" in asked
    published = run("median-depth", root, "--protocol", "md4all-robotcar", "--out", out, code=2)
    assert "no frame of test" in published  # other frames would not be the protocol


def test_what_is_refused(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, out = make_dataset(tmp_path / "dataset"), tmp_path / "out"
    assert "--truth" in run(model, root, "--truth", "radar", code=2)
    assert "--protocol" in run(model, root, "--protocol", "kitty", code=2)
    assert "caps are" in run(model, root, "--cap", "0.05", code=2)
    run(model, tmp_path / "absent", code=2)
    assert "There is no folder" in run(tmp_path / "nothing", root, "--out", out, code=2)
    monkeypatch.setattr(FakeModel, "value_m", float("nan"))
    assert "not finite and positive" in run(model, root, "--out", out, code=2)
    assert not out.exists()  # no table of half an evaluation


def test_md4alls_truth_needs_a_dataset_with_its_projection(model: Path, tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "dataset")
    words = ("--out", tmp_path / "out", "--device", "cpu", "--truth", "md4all")
    output = " ".join(run(model, root, *words, code=2).split())
    assert "holds LiDAR depth with projection nearest; --truth md4all needs md4all" in output
    for plan in (root / "_plan").glob("*.json"):
        record = json.loads(plan.read_text())
        body = record[next(key for key in record if key != "sha256")]
        body["options"] = {"projection": "md4all"}
        plan.write_bytes(record_bytes(next(key for key in record if key != "sha256"), body))
    run(model, root, *words)
    evaluation = read_evaluation(tmp_path / "out")
    assert evaluation.settings.truth == "md4all" and evaluation.score("all").num_images > 0


def test_the_affine_protocol_fits_scale_and_shift(model: Path, tmp_path: Path) -> None:
    root, out = make_dataset(tmp_path / "dataset"), tmp_path / "out"
    printed = run(model, root, "--out", out, "--protocol", "affine-robotcar", "--split", "val")
    assert "fitted in scale and shift of inverse depth" in " ".join(printed.split())
    evaluation = read_evaluation(out)
    assert evaluation.settings.scalings == ("affine", "affine-flip")
    found = evaluation.score("all", 50.0, "affine").metrics
    assert found is not None and evaluation.images
    # A constant prediction becomes the harmonic mean of each image's truth.
    assert 0 < found["abs_rel"].mean < 0.5
