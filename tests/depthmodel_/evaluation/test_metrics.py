"""Metrics of one image, against values worked out by hand and a computation of our own."""

import math

import numpy as np
import pytest

from nightrain.datasets.geometry.crops import Crop
from nightrain.depthmodel.evaluation.metrics import (
    METRICS,
    depth_metrics,
    score_image,
    scored_pixels,
)

PERFECT = {name: float(name in ("d1", "d2", "d3")) for name in METRICS}


@pytest.fixture
def truth_m() -> np.ndarray:
    truth_m = np.random.default_rng(0).uniform(2, 60, (12, 20)).astype(np.float32)
    truth_m[::2] = 0  # no LiDAR line there
    return truth_m


def test_truth_itself_has_no_error(truth_m: np.ndarray) -> None:
    found = score_image(np.where(truth_m > 0, truth_m, 7.0), truth_m)
    assert found is not None
    assert found._asdict() == pytest.approx(PERFECT)


def test_a_constant_factor(truth_m: np.ndarray) -> None:
    prediction_m = 1.3 * np.where(truth_m > 0, truth_m, 7.0)
    found = score_image(prediction_m, truth_m)
    assert found is not None
    g = truth_m[truth_m > 0].astype(np.float64)
    assert found.abs_rel == pytest.approx(0.3)
    assert found.sq_rel == pytest.approx(0.09 * g.mean())
    assert found.rmse == pytest.approx(0.3 * math.sqrt((g**2).mean()))
    assert found.rmse_log == pytest.approx(math.log(1.3))
    assert found.log10 == pytest.approx(math.log10(1.3))
    assert found.silog == pytest.approx(0, abs=1e-4)  # a scale is no error to it
    assert (found.d1, found.d2, found.d3) == (0.0, 1.0, 1.0)
    scaled = score_image(prediction_m, truth_m, median_scaled=True)
    assert scaled is not None and scaled._asdict() == pytest.approx(PERFECT, abs=1e-5)


def test_two_pixels_by_hand() -> None:
    found = depth_metrics(np.array([10.0, 16.0]), np.array([5.0, 20.0]))
    up, down = math.log(2), math.log(0.8)
    expected = {
        "abs_rel": (1 + 0.2) / 2,
        "sq_rel": (25 / 5 + 16 / 20) / 2,
        "rmse": math.sqrt((25 + 16) / 2),
        "rmse_log": math.sqrt((up**2 + down**2) / 2),
        "silog": 100 * math.sqrt((up**2 + down**2) / 2 - ((up + down) / 2) ** 2),
        "log10": (math.log10(2) - math.log10(0.8)) / 2,
        "d1": 0.0,  # 20 / 16 is 1.25 and not below it
        "d2": 0.5,
        "d3": 0.5,
    }
    assert found._asdict() == pytest.approx(expected)


def test_the_range_is_open_and_the_prediction_is_clamped_to_it() -> None:
    truth_m = np.array([[0.1, 0.2, 79.0, 80.0, 0.0, np.nan]], np.float32)
    assert scored_pixels(truth_m, 0.1, 80.0).tolist() == [[False, True, True, False, False, False]]
    found = score_image(np.array([[9, 0.01, 500, 9, 9, 9.0]]), truth_m)
    assert found is not None
    assert found.abs_rel == pytest.approx((0.5 + 1 / 79) / 2, rel=1e-5)  # as 0.1 and 80


def test_the_medians_are_of_the_scored_pixels_before_clamping() -> None:
    truth_m = np.array([[10.0, 20.0, 40.0, 60.0]])
    prediction_m = np.array([[100.0, 200.0, 400.0, 1.0]])
    found = score_image(prediction_m, truth_m, max_depth_m=50.0, median_scaled=True)
    assert found is not None and found.abs_rel == pytest.approx(0)
    prediction_m[0, 2] = 4000.0  # the median does not care, a mean would
    found = score_image(prediction_m, truth_m, max_depth_m=50.0, median_scaled=True)
    assert found is not None and found.abs_rel == pytest.approx((50 - 40) / 40 / 3)
    found = score_image(prediction_m, truth_m, crop=Crop(0, 0, 1, 1))
    assert found is not None and found.abs_rel == pytest.approx(7.0)  # 80 for 10


def test_an_image_without_valid_truth_has_no_score() -> None:
    ones = np.ones((3, 4))
    assert score_image(ones, np.zeros((3, 4))) is None
    assert score_image(ones, 90 * ones) is None
    assert score_image(ones, np.eye(3, 4), crop=Crop(0, 3, 3, 1)) is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -1.0])
def test_what_is_no_depth_is_refused_where_it_is_scored(bad: float) -> None:
    truth_m = np.array([[5.0, 0.0]])
    with pytest.raises(ValueError, match="finite and positive"):
        score_image(np.array([[bad, 5.0]]), truth_m)
    found = score_image(np.array([[5.0, bad]]), truth_m)
    assert found is not None and found.abs_rel == 0


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 2\)"):
        score_image(np.ones((2, 2)), np.ones((2, 3)))
    with pytest.raises(ValueError, match="N > 0"):
        depth_metrics(np.ones(0), np.ones(0))


def test_an_affine_fit_finds_scale_and_shift_of_inverse_depth(truth_m: np.ndarray) -> None:
    known = np.where(truth_m > 0, truth_m, 7.0).astype(np.float64)
    prediction_m = 1 / (3.0 / known + 0.2)
    found = score_image(prediction_m, truth_m, affine=True)
    assert found is not None and found._asdict() == pytest.approx(PERFECT, abs=1e-5)
    plain = score_image(prediction_m, truth_m)
    assert plain is not None and plain.abs_rel > 0.5


def test_an_affine_fit_is_that_of_least_squares(truth_m: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    prediction_m = np.where(truth_m > 0, truth_m, 7.0) * rng.uniform(0.5, 2.0, truth_m.shape)
    g, p = truth_m[truth_m > 0].astype(np.float64), prediction_m[truth_m > 0]
    system = np.stack([1 / p, np.ones_like(p)], 1)
    (scale, shift), *_ = np.linalg.lstsq(system, 1 / g, rcond=None)
    aligned = np.clip(1 / np.maximum(scale / p + shift, 1 / 80), 0.1, 80)
    found = score_image(prediction_m, truth_m, affine=True)
    assert found is not None
    assert found.abs_rel == pytest.approx(np.mean(np.abs(aligned - g) / g))
    flat = score_image(np.full(truth_m.shape, 5.0), truth_m, affine=True)
    assert flat is not None and np.isfinite(flat.abs_rel)  # nothing to scale: the mean


def test_the_lower_median_is_torchs(truth_m: np.ndarray) -> None:
    import torch

    rng = np.random.default_rng(2)
    prediction_m = rng.uniform(2, 60, truth_m.shape)
    for valid in (truth_m > 0, (truth_m > 0) & (np.arange(truth_m.size).reshape(12, 20) > 20)):
        masked = np.where(valid, truth_m, 0)
        g, p = torch.from_numpy(masked[valid]).double(), torch.from_numpy(prediction_m[valid])
        scaled = (p * g.median() / p.median()).clamp(0.1, 80)
        expected = float(((scaled - g).abs() / g).mean())
        found = score_image(prediction_m, masked, median_scaled=True, lower_median=True)
        assert found is not None and found.abs_rel == pytest.approx(expected)
