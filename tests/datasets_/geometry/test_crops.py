"""The published crops, against rectangles worked out by hand."""

from typing import Any

import numpy as np
import pytest

from nightrain.datasets.geometry.crops import (
    Crop,
    eigen_crop,
    evaluation_mask,
    garg_crop,
    garg_on_full_frame,
    kb_crop,
    kb_then_garg,
)

KITTI_SIZES = [(1242, 375), (1224, 370), (1238, 374), (1226, 370), (1241, 376)]


@pytest.mark.parametrize(
    ("size", "top", "left"),
    list(zip(KITTI_SIZES, (23, 18, 22, 18, 24), (13, 4, 11, 5, 12), strict=True)),
)
def test_the_kb_crop_is_at_the_bottom_centre(size: tuple[int, int], top: int, left: int) -> None:
    assert kb_crop(size) == Crop(top, left, 352, 1216)
    image = np.arange(size[0] * size[1]).reshape(size[1], size[0])
    part = kb_crop(size).apply(image)
    assert part.shape == (352, 1216) and part[-1, 0] == image[-1, left]  # the last row stays
    pasted = kb_crop(size).paste(part, size)
    assert pasted.shape == image.shape and np.count_nonzero(pasted) == part.size
    np.testing.assert_array_equal(kb_crop(size).apply(pasted), part)


def test_a_point_lands_on_the_same_thing_in_the_cropped_image() -> None:
    intrinsics = np.array([[721.5, 0, 609.5], [0, 721.5, 172.9], [0, 0, 1.0]])
    point_m = np.array([2.0, 1.0, 10.0])
    full = intrinsics @ point_m / 10
    crop = kb_crop((1242, 375))
    cropped = crop.intrinsics(intrinsics) @ point_m / 10
    np.testing.assert_allclose(cropped[:2], full[:2] - (13, 23), atol=1e-12)
    assert intrinsics[0, 2] == 609.5  # the caller's are left alone


def test_fractions_give_the_published_rectangles() -> None:
    # A comment that goes around with this formula says rows 152 to 367 and columns from 44 for
    # 1224x370. The formula, cut off as everyone runs it, gives 151 to 366 and 43.
    assert garg_crop((1224, 370)) == Crop(151, 43, 366 - 151, 1180 - 43)
    assert garg_crop((1242, 375)) == Crop(153, 44, 371 - 153, 1197 - 44)
    assert eigen_crop((1242, 375)) == Crop(124, 44, 342 - 124, 1197 - 44)


def test_the_two_orders_differ_by_known_rims() -> None:
    size = (1242, 375)
    cropped, full = kb_then_garg(size), garg_on_full_frame(size)
    assert cropped == Crop(23 + 143, 13 + 43, 349 - 143, 1172 - 43)
    assert full == Crop(153, 44, 218, 1153)
    depth_m = np.full((375, 1242), 20.0, np.float32)
    first = evaluation_mask(depth_m, "kb_then_garg")
    second = evaluation_mask(depth_m, "garg_on_full_frame")
    only_first, only_second = first & ~second, second & ~first
    assert set(np.nonzero(only_first)[0]) == {371}  # one row at the bottom
    assert only_first.sum() == 1129 and only_second.sum() == 218 * 1153 - 205 * 1129
    assert only_second[153:166, 44:1197].all()  # 13 rows, the farthest ones
    assert (first ^ second).sum() / second.sum() == pytest.approx(0.0837, abs=1e-3)


@pytest.mark.parametrize("size", KITTI_SIZES)
def test_garg_on_the_full_frame_scores_only_what_was_predicted(size: tuple[int, int]) -> None:
    assert garg_on_full_frame(size) == garg_crop(size)
    predicted = kb_crop(size).paste(np.ones((352, 1216), bool), size)
    assert garg_crop(size).apply(predicted).all()


def test_the_orders_are_what_the_two_code_paths_score() -> None:
    """Each order, done step by step as the published evaluations do, gives the same pixels."""
    rng = np.random.default_rng(0)
    size = (1241, 376)
    truth_m = rng.uniform(0.5, 90, (376, 1241)).astype(np.float32)
    part_m = kb_crop(size).apply(truth_m)  # as PixelFormer: the truth is cropped first
    scored = garg_crop((1216, 352)).apply(part_m)
    scored = scored[(scored > 1e-3) & (scored < 80)]
    np.testing.assert_array_equal(truth_m[evaluation_mask(truth_m, "kb_then_garg")], scored)
    scored = garg_crop(size).apply(truth_m)
    scored = scored[(scored > 1e-3) & (scored < 80)]
    np.testing.assert_array_equal(truth_m[evaluation_mask(truth_m, "garg_on_full_frame")], scored)


def test_only_depth_between_the_bounds_is_scored() -> None:
    depth_m = np.full((375, 1242), 10.0, np.float32)
    depth_m[200, 600:606] = (0.0, 1e-3, 80.0, np.inf, np.nan, 79.9)
    mask = evaluation_mask(depth_m, "garg_on_full_frame")
    assert mask[200, 600:606].tolist() == [False, False, False, False, False, True]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="1200x375"):
        kb_crop((1200, 375))
    with pytest.raises(ValueError, match="expected"):
        kb_crop((1242, 375)).paste(np.zeros((3, 3)), (1242, 375))
    unknown: Any = "garg"
    with pytest.raises(ValueError, match="kb_then_garg or garg_on_full_frame"):
        evaluation_mask(np.zeros((375, 1242)), unknown)
