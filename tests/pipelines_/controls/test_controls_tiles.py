"""Tiled refinement: exact where tiles differ by scale and shift, seamless where by more."""

from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightrain.datasets.errors import InvalidRequest
from nightrain.pipelines.controls.depth_source import (
    DepthInput,
    ImageWindow,
    RelativeDepth,
    inverse_of_metric,
)
from nightrain.pipelines.controls.given import GivenDepth
from nightrain.pipelines.controls.tiles import (
    TiledDepth,
    fit_scale_shift,
    fit_to,
    through_window,
    windows,
)


def _street(width: int = 256, height: int = 144) -> ImageWindow:
    """A road with boxes on it, a row of houses and sky: outlines of every depth."""
    intrinsics = np.array([[200.0, 0, width / 2], [0, 200, height / 2], [0, 0, 1]])
    v, u = np.indices((height, width))
    below = np.maximum(v - height / 2, 1e-6)
    depth_m = np.where(v > height / 2, 1.5 * 200 / below, np.inf)
    depth_m[(v > 40) & (depth_m > 60)] = 60.0  # houses across the end of the road
    for left, right, z_m, tall_m in (
        (10, 70, 9.0, 3.0),
        (150, 190, 14.0, 1.5),
        (200, 250, 7.0, 1.8),
    ):
        foot, head = height / 2 + 1.5 * 200 / z_m, height / 2 + (1.5 - tall_m) * 200 / z_m
        depth_m[(u > left) & (u < right) & (v < foot) & (v > head)] = z_m
    return ImageWindow(
        np.full((height, width, 3), 90, np.uint8), intrinsics, depth_m.astype(np.float32)
    )


STREET = _street()


@dataclass
class Oracle:
    """True inverse depth, scaled and shifted anew per call; the first call is blurred."""

    blur_px: float = 0.0
    bend: float = 0.0  # how much a tile is bent besides
    name: str = "oracle"
    shapes: list[tuple[int, ...]] = field(default_factory=list)

    def depth(self, scene: DepthInput) -> RelativeDepth:
        assert scene.depth_m is not None
        rng = np.random.default_rng(len(self.shapes))
        true = inverse_of_metric(scene.depth_m)
        self.shapes.append(true.shape)
        if len(self.shapes) == 1:
            return RelativeDepth(_blurred(true, self.blur_px))
        across = np.linspace(-1, 1, true.shape[1], dtype=np.float32)[None]
        bent = true + np.float32(self.bend * rng.normal()) * across**2
        scale, shift = np.float32(rng.uniform(0.2, 5)), np.float32(rng.uniform(-3, 3))
        return RelativeDepth(scale * bent + shift)


def _blurred(values: np.ndarray, sigma_px: float) -> np.ndarray:
    return cv2.GaussianBlur(values, (0, 0), sigma_px) if sigma_px else values


def truth() -> np.ndarray:
    return inverse_of_metric(STREET.depth_m)


def test_49_tiles_and_one_whole_picture_give_the_truth() -> None:
    oracle = Oracle()
    found = TiledDepth(oracle).depth(STREET).inverse_depth
    assert oracle.shapes == [(144, 256), *([(36, 64)] * 49)]
    np.testing.assert_allclose(found, truth(), atol=2e-6)
    assert TiledDepth(oracle).name == "oracle:tiled49"


def test_tiles_bring_back_what_the_whole_picture_blurs() -> None:
    coarse, fine = _blurred(truth(), 3.0), TiledDepth(Oracle(blur_px=3.0)).depth(STREET)
    error, before = (np.abs(x - truth()).mean() for x in (fine.inverse_depth, coarse))
    assert error < 0.3 * before
    detail = np.abs(truth() - coarse) > 0.02  # outlines
    assert (
        np.abs(fine.inverse_depth - truth())[detail].mean()
        < 0.3 * np.abs(coarse - truth())[detail].mean()
    )


def test_no_seam_is_left_where_tiles_disagree() -> None:
    size = STREET.image.shape[:2]
    smooth = ImageWindow(STREET.image, STREET.intrinsics, np.full(size, 10.0, np.float32))
    ramp = smooth.depth_m / np.linspace(1, 4, size[1], dtype=np.float32)[None]  # type: ignore[operator]
    scene = ImageWindow(STREET.image, STREET.intrinsics, ramp)
    found = TiledDepth(Oracle(bend=0.02)).depth(scene).inverse_depth
    error = found - inverse_of_metric(ramp)
    assert np.abs(error).max() > 1e-3  # the tiles do disagree
    steps = np.abs(np.diff(error, axis=1)).max(axis=0)  # (W - 1,)
    borders = np.arange(32, 256, 32) - 1
    inside = np.setdiff1d(np.arange(255), np.concatenate([borders - 1, borders, borders + 1]))
    assert steps[borders].max() <= 1.05 * steps[inside].max()
    assert _hard_seams(scene)[borders].max() > 3 * steps.max()  # without blending there are some


def _hard_seams(scene: ImageWindow) -> np.ndarray:
    """The same tiles cut at their borders."""
    oracle = Oracle(bend=0.02)
    whole = oracle.depth(scene).inverse_depth
    pasted = np.zeros_like(whole)
    rows, columns = windows(144, 4)[0], windows(256, 4)[0]
    for row in rows:
        for column in columns:
            tile = oracle.depth(through_window(scene, row, column)).inverse_depth
            pasted[row, column] = fit_to(tile, whole[row, column])
    error = pasted - inverse_of_metric(scene.depth_m)  # type: ignore[arg-type]
    return np.abs(np.diff(error, axis=1)).max(axis=0)


@pytest.mark.parametrize("grid", [2, 3, 4])
def test_a_constant_stays_the_constant(grid: int) -> None:
    flat = ImageWindow(STREET.image, STREET.intrinsics, np.full((144, 256), 8.0, np.float32))
    found = TiledDepth(GivenDepth(), grid).depth(flat)
    np.testing.assert_array_equal(found.inverse_depth, np.float32(0.125))


def test_refining_exact_depth_changes_nothing_and_keeps_the_sky() -> None:
    found = TiledDepth(GivenDepth()).depth(STREET)
    np.testing.assert_allclose(found.inverse_depth, truth(), atol=1e-6)
    assert found.sky is not None and (found.sky == np.isinf(STREET.depth_m)).all()


def test_a_tile_that_is_flat_or_upside_down_tells_nothing() -> None:
    class Contrary(Oracle):
        def depth(self, scene: DepthInput) -> RelativeDepth:
            found = super().depth(scene).inverse_depth
            number = len(self.shapes) - 1
            if number == 0:
                return RelativeDepth(found)
            waves = np.sin(np.arange(found.shape[1], dtype=np.float32))[None]
            flipped = -found - 0.2 * np.ptp(found) * waves
            return RelativeDepth(flipped if number % 2 else np.full_like(found, 4.0))

    found = TiledDepth(Contrary()).depth(STREET).inverse_depth
    np.testing.assert_allclose(found, truth(), atol=1e-6)


@given(st.integers(16, 400), st.sampled_from([2, 3, 4]))
def test_windows_cover_everything_and_sum_to_one(length: int, grid: int) -> None:
    if length < 8 * grid:
        with pytest.raises(InvalidRequest, match="too short"):
            windows(length, grid)
        return
    spans, weights = windows(length, grid)
    assert len(spans) == len(weights) == 2 * grid - 1
    assert spans[0].start == 0 and spans[-1].stop == length
    np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-12)
    for span, weight in zip(spans, weights, strict=True):
        outside = np.delete(weight, np.arange(span.start, span.stop))
        assert not outside.any() and (weight >= 0).all()


@given(st.floats(0.01, 100), st.floats(-10, 10), st.integers(0, 1000))
def test_the_fit_finds_scale_and_shift_through_a_fifth_of_outliers(
    scale: float, shift: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 1, (30, 40))
    y = scale * x + shift + 0.002 * scale * rng.normal(size=x.shape)
    y[rng.random(x.shape) < 0.2] += 2 * scale
    fit = fit_scale_shift(x, y)
    assert fit is not None
    assert fit[0] == pytest.approx(scale, rel=0.01)
    assert fit[1] == pytest.approx(shift, abs=0.01 * scale)


def test_a_window_keeps_rays_where_they_were() -> None:
    part = through_window(STREET, slice(36, 72), slice(64, 128))
    assert part.image.shape == (36, 64, 3) and part.depth_m is not None
    assert (part.depth_m == STREET.depth_m[36:72, 64:128]).all()  # type: ignore[index]
    ray = np.linalg.inv(part.intrinsics) @ (5, 7, 1)
    np.testing.assert_allclose(ray, np.linalg.inv(STREET.intrinsics) @ (5 + 64, 7 + 36, 1))
