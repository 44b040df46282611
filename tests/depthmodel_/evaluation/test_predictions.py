"""Folders of another network's predictions: scored as the network itself would be."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.images import encode_levels_png
from nightrain.depthmodel.evaluation.evaluate import FramePredictor, NoPrediction, evaluate
from nightrain.depthmodel.evaluation.frames import EvaluationFrames
from nightrain.depthmodel.evaluation.predictions import PredictionFolder, PredictionForm
from nightrain.depthmodel.evaluation.results import Evaluation
from nightrain.depthmodel.evaluation.settings import EvaluationSettings
from nightrain.pipelines.depth.evaluation_job import EvaluationJob, evaluate_model
from nightrain.pipelines.runs.stop import Stop
from support.evaluation import by_frame, index_of, make_dataset

METRIC = EvaluationSettings(scalings=("metric", "median"))
DEPTH = PredictionForm()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("predictions") / "dataset")


def frames(root: Path) -> EvaluationFrames:
    return EvaluationFrames(root, split="val", truth="lidar")


def written(root: Path, folder: Path, left_out: int | None = None) -> Path:
    """Depth of every frame: .npy by frame_id, every third one .png by source_id in a folder."""
    (folder / "png").mkdir(parents=True)
    found = frames(root)
    for position in range(len(found)):
        image = found[position].image
        (depth_m,), index = by_frame([image]), index_of(image)
        if index == left_out:
            continue
        if index % 3:
            np.save(folder / f"{found.frame_ids[position]}.npy", depth_m[None])
        else:
            levels = np.rint(depth_m * 256).astype(np.uint16)
            (folder / "png" / f"{index}.png").write_bytes(encode_levels_png(levels))
    return folder


def frame_ids(root: Path) -> dict[int, str]:
    """The frame_id of each source_id."""
    found = frames(root)
    return {index_of(found[n].image): name for n, name in enumerate(found.frame_ids)}


def means(evaluation: Evaluation) -> dict[tuple[str, str], float]:
    return {
        (score.bucket, score.scaling): score.metrics["abs_rel"].mean
        for score in evaluation.scores
        if score.metrics is not None
    }


def test_files_are_scored_as_the_network_is(root: Path, tmp_path: Path) -> None:
    folder = written(root, tmp_path / "depth")
    found = evaluate(PredictionFolder(folder, root, DEPTH), root, METRIC, batch_size=3)
    assert means(found) == pytest.approx(means(evaluate(by_frame, root, METRIC)), rel=1e-3)


def test_inverse_depth_of_any_scale_is_aligned(root: Path, tmp_path: Path) -> None:
    folder, source = tmp_path / "inverse", frames(root)
    folder.mkdir()
    for index, name in enumerate(source.frame_ids):
        (depth_m,) = by_frame([source[index].image])
        np.save(folder / f"{name}.npy", 3 / depth_m + 0.5)
    affine = EvaluationSettings(scalings=("affine",))
    found = evaluate(PredictionFolder(folder, root, PredictionForm(True)), root, affine)
    assert means(found) == pytest.approx(means(evaluate(by_frame, root, affine)), abs=2e-3)


def test_what_has_no_usable_prediction_is_left_out_and_counted(root: Path, tmp_path: Path) -> None:
    folder, name_of = written(root, tmp_path / "depth", left_out=2), frame_ids(root)
    np.save(folder / f"{name_of[1]}.npy", np.ones((40, 40)))
    (folder / f"{name_of[4]}.npy").write_bytes(b"no array")
    found = evaluate(PredictionFolder(folder, root, DEPTH), root, METRIC)
    scored = {image.frame_id for image in found.images}
    assert scored == {name_of[index] for index in (0, 3, 6)}
    reasons = {one.frame_id: one.reason for one in found.skipped}
    assert reasons[name_of[2]] == "no file of predictions"
    assert "is 40x40, the image 64x40: another aspect" in reasons[name_of[1]]
    assert "cannot be read" in reasons[name_of[4]]


def test_names_that_match_nothing_or_twice_are_refused(root: Path, tmp_path: Path) -> None:
    folder, name = written(root, tmp_path / "depth"), frame_ids(root)[1]
    (folder / "png" / "1.png").write_bytes(b"")
    with pytest.raises(InvalidRequest, match=rf"both belong to frame {name}; keep one"):
        PredictionFolder(folder, root, DEPTH)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    for words in ("found no .npy and no .png", "found 000123.npy, expected names such as"):
        with pytest.raises(InvalidRequest, match=words):
            PredictionFolder(foreign, root, DEPTH)
        np.save(foreign / "000123.npy", np.ones((40, 64)))
    with pytest.raises(InvalidRequest, match="There is no folder"):
        PredictionFolder(tmp_path / "none", root, DEPTH)


def test_a_predictor_is_told_which_frames_it_sees(root: Path) -> None:
    class Recording(FramePredictor):
        seen: ClassVar[list[str]] = []

        def __call__(
            self, images: Sequence[np.ndarray], frame_ids: Sequence[str]
        ) -> list[np.ndarray | NoPrediction]:
            self.seen += frame_ids
            return [NoPrediction("later") if n % 2 else d for n, d in enumerate(by_frame(images))]

    found = evaluate(Recording(), root, METRIC, batch_size=2)
    with_truth = {name for index, name in frame_ids(root).items() if index != 7}
    assert (
        {*Recording.seen} == with_truth
        and len(Recording.seen) == 7
        and {s.reason for s in found.skipped} >= {"later"}
    )
    with pytest.raises(InvalidRequest, match="need predictions of mirrored images"):
        evaluate(Recording(), root, EvaluationSettings(scalings=("metric-flip",)))


def test_every_protocol_scores_a_folder(root: Path, tmp_path: Path) -> None:
    folder = written(root, tmp_path / "depth")
    job = EvaluationJob(
        model=str(folder), dataset=root, predictions="depth", out=tmp_path / "out", split="val"
    )
    report = evaluate_model(job, stop=Stop())
    assert report.num_images == 6 and (tmp_path / "out" / "error-maps.png").exists()
    kitti = EvaluationJob(
        model=str(folder), dataset=root, predictions="depth", protocol="kitti-eigen"
    )
    assert not any(scaling.endswith("-flip") for scaling in kitti.settings().scalings)
    inverse = EvaluationJob(model=str(folder), dataset=root, predictions="inverse")
    assert inverse.settings().scalings == ("affine",)
