"""The median picture of the train set."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.frame import Frame, FrameRef
from nightrain.depthmodel.evaluation.baselines import MedianDepth
from nightrain.depthmodel.evaluation.evaluate import evaluate
from nightrain.depthmodel.evaluation.settings import EvaluationSettings
from support.evaluation import FIRST_ROWS, make_dataset
from support.synthetic import SIZE, SyntheticSource, ground_depth_m, ingest_synthetic


def test_it_is_the_median_of_each_place(dataset: Path) -> None:
    fitted = MedianDepth.fit(dataset, grid=SIZE)
    ground_m = ground_depth_m()
    seen = ground_m < 80
    np.testing.assert_allclose(fitted.depth_m[seen], ground_m[seen], rtol=0.01)
    nearest_row = fitted.depth_m[np.argmax(seen[:, 0])]
    np.testing.assert_allclose(fitted.depth_m[0], nearest_row)  # the sky is as what is next to it
    found = evaluate(fitted, dataset, EvaluationSettings(split="train"))
    metrics = found.score("all").metrics
    assert metrics is not None and metrics["abs_rel"].mean < 0.01 and metrics["d1"].mean == 1


def test_it_is_a_median_and_no_mean(tmp_path: Path) -> None:
    class Varied(SyntheticSource):
        def load(self, ref: FrameRef) -> Frame:
            scale = (0.5, 2.0, 0.5, 1.0, 2.0)[int(ref.source_id)]
            depth_m = np.where(np.isfinite(ground_depth_m()), ground_depth_m() * scale, 0)
            return replace(super().load(ref), lidar_depth_m=depth_m.astype(np.float32))

    ingest_synthetic(tmp_path / "d", Varied(num_frames=5))
    fitted = MedianDepth.fit(tmp_path / "d", grid=SIZE)
    np.testing.assert_allclose(fitted.depth_m[30:], ground_depth_m()[30:], rtol=0.01)


def test_it_fits_to_sparse_truth_and_predicts_at_the_size_of_each_image(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "d")
    assert None in FIRST_ROWS
    fitted = MedianDepth.fit(root, split="val", grid=(8, 5))
    images = [np.zeros((40, 64, 3), np.uint8), np.zeros((20, 30, 3), np.uint8)]
    assert [p.shape for p in fitted(images)] == [(40, 64), (20, 30)]
    assert all(np.isfinite(p).all() and (p > 0).all() for p in fitted(images))


def test_without_depth_there_is_no_median(tmp_path: Path) -> None:
    class Blind(SyntheticSource):
        def load(self, ref: FrameRef) -> Frame:
            return replace(super().load(ref), lidar_depth_m=None)

    ingest_synthetic(tmp_path / "d", Blind(num_frames=2))
    with pytest.raises(InvalidRequest, match="no frame of train"):
        MedianDepth.fit(tmp_path / "d")
    assert MedianDepth.fit(tmp_path / "d", truth="exact").depth_m.min() > 0
