"""Prediction of files: every form holds the network's depth, and nothing is mixed up or lost."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.images import (
    decode_depth_levels,
    decode_depth_png,
    decode_jpeg,
    encode_jpeg,
)
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.network.predict import predict
from nightrain.pipelines.depth.predict_job import PredictJob, PredictReport, predict_pictures
from nightrain.pipelines.runs.stop import Stop
from support.pictures import blocks
from support.tiny_depth_models import save_teacher
from support.tiny_depth_networks import save_dpt


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_teacher(tmp_path_factory.mktemp("teacher"))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two JPEGs of different sizes in two folders, a PNG in grey, a damaged file, and a text."""
    folder = tmp_path / "pictures"
    (folder / "left").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(encode_jpeg(cv2.resize(blocks(1), (96, 64))))
    (folder / "left" / "a.JPG").write_bytes(encode_jpeg(cv2.resize(blocks(2), (128, 80))))
    cv2.imwrite(str(folder / "left" / "b.png"), cv2.resize(blocks(3), (96, 64))[..., 0])
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("not a picture")
    return folder


def predicted(model: Path, *inputs: Path, out: Path, **fields: Any) -> PredictReport:
    job = PredictJob(model=model, inputs=inputs, out=out, **fields)
    return predict_pictures(job, Stop())


def test_every_form_holds_the_networks_depth(model: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = predicted(model, pictures, out=out, form=("npy", "png16", "colour"))
    assert report.num_written == 3 and list(report.failed) == [str(pictures / "broken.jpg")]
    assert "no readable JPEG header" in report.failed[str(pictures / "broken.jpg")]
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    stems = ("a", "left/a", "left/b")
    assert names == {f"{s}{e}" for s in stems for e in (".npy", ".png", ".colour.jpg")}
    image = decode_jpeg((pictures / "left" / "a.JPG").read_bytes())
    (expected,) = predict(DepthModel.from_pretrained(model), [image])
    found = np.load(out / "left" / "a.npy")
    assert found.dtype == np.float32 and found == pytest.approx(expected, rel=1e-4)
    depth_m = decode_depth_png((out / "left" / "a.png").read_bytes())
    assert np.abs(depth_m - found).max() <= 1 / 512
    assert decode_jpeg((out / "left" / "a.colour.jpg").read_bytes()).shape == image.shape


def test_the_same_job_goes_on(model: Path, pictures: Path, tmp_path: Path) -> None:
    out, stop = tmp_path / "out", Stop()
    job = PredictJob(model=model, inputs=(pictures,), out=out, batch_size=1)
    stopped = predict_pictures(job, stop, on_done=lambda count: stop.request() if count else None)
    assert stopped.stopped and stopped.num_written < 3
    (out / "left").mkdir(exist_ok=True)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    report = predict_pictures(job, Stop())
    assert report.num_written + stopped.num_written == 3
    assert report.num_kept == stopped.num_written
    assert {path: path.stat().st_mtime_ns for path in before} == before
    again = predict_pictures(job, Stop())
    assert (again.num_written, again.num_kept) == (0, 3)


def test_relative_depth_keeps_its_order(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predicted(save_dpt(tmp_path / "dpt"), pictures / "a.jpg", out=out, form=("npy", "png16"))
    inverse = np.load(out / "a.npy")
    levels = decode_depth_levels((out / "a.png").read_bytes())
    assert inverse.shape == (64, 96) and levels.min() == 1 and levels.max() == 65535
    order = np.argsort(inverse, axis=None)
    assert (np.diff(levels.ravel()[order].astype(int)) >= 0).all()


def test_a_video_gives_a_folder_of_frames(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "drive.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 64))
    for seed in range(5):
        writer.write(cv2.resize(blocks(seed), (96, 64)))
    writer.release()
    out = tmp_path / "out"
    assert predicted(model, path, out=out, form=("npy",)).num_written == 5
    first = np.load(out / "drive" / "000003.npy")
    (out / "drive" / "000003.npy").unlink()
    assert predicted(model, path, out=out, form=("npy",)).num_written == 1
    assert np.load(out / "drive" / "000003.npy") == pytest.approx(first, rel=1e-4)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(InvalidRequest, match="not a video that OpenCV can read"):
        predicted(model, tmp_path / "broken.mp4", out=out)


def test_inputs_that_cannot_be_told_apart_are_refused(
    model: Path, pictures: Path, tmp_path: Path
) -> None:
    cases = {
        "would both be written to a": (pictures / "a.jpg", pictures / "left" / "a.JPG"),
        "holds no picture": (pictures / "notes.txt",),
    }
    for words, inputs in cases.items():
        with pytest.raises(InvalidRequest, match=words):
            predicted(model, *inputs, out=tmp_path / "out")
    for out in (pictures, pictures / "depth"):
        with pytest.raises(InvalidRequest, match="where the pictures are; name a folder apart"):
            predicted(model, pictures, out=out)
    assert not (tmp_path / "out").exists() and not (pictures / "depth").exists()
