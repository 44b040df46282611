"""A network as an ONNX file gives the same depth without torch, and so does TorchScript."""

import json
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.config import Kind
from nightrain.depthmodel.network import export
from nightrain.depthmodel.network.export import export_onnx, export_torchscript
from support.tiny_depth_models import tiny_model


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dinov2", "resnet"])
@pytest.mark.filterwarnings("default")  # torch's exporter uses what torch itself has deprecated
def test_onnxruntime_agrees(tmp_path: Path, kind: Kind) -> None:
    model = tiny_model(kind).train()
    export_onnx(model, tmp_path / "new" / "model.onnx")
    assert model.training and [p.name for p in tmp_path.rglob("*.onnx")] == ["model.onnx"]
    model.eval()
    session = onnxruntime.InferenceSession(
        tmp_path / "new" / "model.onnx", providers=["CPUExecutionProvider"]
    )
    for batch in (1, 2, 5):
        image = torch.rand(batch, 3, 56, 112)
        (found,) = session.run(["inverse_depth"], {"image": image.numpy()})
        with torch.no_grad():
            expected = model(image).inverse_depth.numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-4)
        assert np.ptp(expected) > 0.01 * expected.mean()
    notes = {p.key: p.value for p in onnx.load(tmp_path / "new" / "model.onnx").metadata_props}
    assert notes["digest"] == model.digest
    assert json.loads(notes["config"])["max_depth_m"] == 80.0


def test_torchscript_agrees(tmp_path: Path) -> None:
    model = tiny_model("resnet").train()
    export_torchscript(model, tmp_path / "model.pt")
    assert model.training and [p.name for p in tmp_path.iterdir()] == ["model.pt"]
    notes = {export.NOTES: ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's plans for TorchScript
        traced = torch.jit.load(str(tmp_path / "model.pt"), _extra_files=notes)
    model.eval()
    for batch in (1, 3):
        image = torch.rand(batch, 3, 56, 112)
        with torch.no_grad():
            torch.testing.assert_close(traced(image), model(image).inverse_depth)
    assert json.loads(notes[export.NOTES])["digest"] == model.digest


def test_a_file_that_fails_its_check_is_not_kept(tmp_path: Path) -> None:
    def fails(draft: Path) -> None:
        assert draft.stat().st_size and draft.suffix == ".pt"
        raise InvalidRequest("other depths")

    with pytest.raises(InvalidRequest, match="other depths"):
        export_torchscript(tiny_model("resnet"), tmp_path / "model.pt", fails)
    assert not list(tmp_path.iterdir())


def test_a_model_too_large_for_one_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "MAX_BYTES", 1000)
    with pytest.raises(InvalidRequest, match="smaller encoder"):
        export_onnx(tiny_model(), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
