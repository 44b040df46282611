import time
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.geometry.completion import complete_depth
from nightrain.datasets.geometry.ground_plane import fit_ground, on_plane, plane_map
from nightrain.datasets.geometry.projection import scatter_min_resize
from nightrain.datasets.geometry.sky_mask import sky_mask
from nightrain.datasets.io.images import resize_image
from nightrain.datasets.sources.nuscenes.config import NuScenesConfig
from nightrain.datasets.sources.nuscenes.source import NuScenesSource
from support.paths import REAL_DATA

REAL = REAL_DATA / "nuscenes"
WIDTH, HEIGHT = 768, 448
F_PX, CX, CY = 600.0, 383.5, 215.0
CAMERA_HEIGHT_M = 1.6

# A street from simple shapes: (left, right, top, bottom in pixels, depth in metres, colour).
SHAPES = [
    (0, 200, 30, 261, 21.0, (120, 70, 60)),  # a house
    (560, 768, 90, 247, 30.0, (70, 90, 60)),  # trees
    (330, 450, 190, 275, 16.0, (40, 40, 130)),  # a car
    (600, 690, 200, 311, 10.0, (150, 30, 30)),  # another, nearer
]
SKY, ROAD = (150, 180, 230), (95, 95, 95)


def street() -> tuple[np.ndarray, np.ndarray]:
    """Image (H, W, 3) uint8 and exact depth (H, W) in metres, sky = inf."""
    rng = np.random.default_rng(0)
    rows = np.arange(HEIGHT, dtype=np.float64)[:, None] + np.zeros((1, WIDTH))
    ground = rows > CY
    depth_m = np.where(ground, F_PX * CAMERA_HEIGHT_M / np.maximum(rows - CY, 1e-9), np.inf)
    image = np.where(ground[..., None], ROAD, SKY).astype(np.float64)
    for left, right, top, bottom, shape_m, colour in SHAPES:
        here = (slice(top, bottom), slice(left, right))
        nearer = depth_m[here] > shape_m
        depth_m[here] = np.where(nearer, shape_m, depth_m[here])
        image[here] = np.where(nearer[..., None], colour, image[here])
    image += rng.normal(0, 3, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), depth_m.astype(np.float32)


def scan(depth_m: np.ndarray, *, noise_m: float = 0.02) -> np.ndarray:
    """What a LiDAR of 32 rings returns: every 14th row and 3rd column below +10 degrees."""
    rng = np.random.default_rng(1)
    sparse_m = np.zeros_like(depth_m)
    rings = np.arange(round(CY - F_PX * np.tan(np.radians(10))), HEIGHT - 30, 14)
    here = np.ix_(rings, np.arange(1, WIDTH, 3))
    hit = np.isfinite(depth_m[here]) & (depth_m[here] < 100)
    sparse_m[here] = np.where(hit, depth_m[here] + rng.normal(0, noise_m, hit.shape), 0.0)
    return sparse_m


@pytest.fixture(scope="module")
def completed() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    image, exact_m = street()
    return image, exact_m, complete_depth(scan(exact_m), image)


def test_every_pixel_has_a_depth_and_the_sky_is_infinite(
    completed: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    _, exact_m, depth_m = completed
    assert depth_m.shape == (HEIGHT, WIDTH) and depth_m.dtype == np.float32
    assert not np.isnan(depth_m).any() and depth_m.min() > 0
    true_sky, sky = np.isinf(exact_m), np.isinf(depth_m)
    assert (true_sky & sky).sum() / (true_sky | sky).sum() > 0.97


def test_the_completion_is_near_the_exact_depth(
    completed: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    _, exact_m, depth_m = completed
    known = (exact_m < 80) & np.isfinite(depth_m)
    relative = np.abs(depth_m[known] - exact_m[known]) / exact_m[known]
    assert relative.mean() < 0.02  # AbsRel
    assert np.median(relative) < 0.003
    assert np.mean(relative < 0.25) > 0.985


def test_the_road_below_the_lowest_ring_is_smooth_and_right(
    completed: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    _, exact_m, depth_m = completed
    near = np.s_[HEIGHT - 30 :, :]
    np.testing.assert_allclose(depth_m[near], exact_m[near], rtol=0.03)


def test_a_car_ends_where_its_image_ends(
    completed: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    _, _, depth_m = completed
    for left, right, top, _, shape_m, _ in SHAPES[2:]:
        inside = depth_m[top + 4 : top + 40, left + 4 : right - 4]
        assert np.mean(np.abs(inside / shape_m - 1) < 0.1) > 0.97
        outside = depth_m[top - 12 : top - 4, left + 4 : right - 4]
        assert np.mean(outside > 1.25 * shape_m) > 0.9


def test_the_same_input_gives_the_same_bytes() -> None:
    image, exact_m = street()
    sparse_m = scan(exact_m)
    first = complete_depth(sparse_m, image)
    assert first.tobytes() == complete_depth(sparse_m.copy(), image.copy()).tobytes()


def test_too_few_returns_are_refused() -> None:
    image, exact_m = street()
    sparse_m = np.zeros_like(exact_m)
    sparse_m[300, 10:14] = 9.0
    with pytest.raises(DamagedInput, match="returns") as caught:
        complete_depth(sparse_m, image)
    assert caught.value.reason is Reason.NO_DEPTH
    with pytest.raises(ValueError, match="do not match"):
        complete_depth(sparse_m[1:], image)


@pytest.mark.parametrize("size", [(64, 48), (96, 64), (300, 500), (1600, 900)])
@pytest.mark.parametrize("share", [0.01, 0.2, 1.0])
def test_any_size_and_any_returns_give_a_whole_map(size: tuple[int, int], share: float) -> None:
    rng = np.random.default_rng(size[0])
    shape = size[::-1]
    sparse_m = (rng.uniform(1, 250, shape) * (rng.random(shape) < share)).astype(np.float32)
    depth_m = complete_depth(sparse_m, rng.integers(0, 256, (*shape, 3), np.uint8))
    assert depth_m.shape == shape and not np.isnan(depth_m).any() and depth_m.min() > 0


def test_returns_on_a_wall_alone_need_no_ground() -> None:
    sparse_m = np.zeros((HEIGHT, WIDTH), np.float32)
    sparse_m[10::14, 1::3] = 12.0
    depth_m = complete_depth(sparse_m, np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    np.testing.assert_allclose(depth_m, 12.0, rtol=1e-5)


def test_the_ground_is_found_among_other_returns() -> None:
    _, exact_m = street()
    rows, columns = np.nonzero(scan(exact_m)[224:])
    plane = fit_ground(rows + 224, columns, 1 / scan(exact_m)[rows + 224, columns])
    inverse = plane_map(plane, (WIDTH, HEIGHT))
    assert on_plane(1 / exact_m[400:], inverse[400:]).all()
    assert abs(-plane[2] / plane[1] - CY) < 3  # the horizon's row
    assert not fit_ground(rows[:5], columns[:5], np.ones(5)).any()


def test_a_wall_that_looks_like_sky_is_none() -> None:
    image = np.full((100, 160, 3), (150, 160, 170), np.uint8)
    image[60:] = 60
    returns = np.zeros((100, 160), bool)
    assert sky_mask(image, returns, np.full(160, 70)).mean() > 0.55
    returns[30:60:7, ::2] = True  # the same, but the LiDAR sees it from row 30 on
    assert not sky_mask(image, returns, np.full(160, 70)).any()


def test_a_wall_that_looks_like_sky_does_not_take_the_sky_with_it() -> None:
    """A pale wall fills the right half up to the top edge: sky and wall are one region."""
    image = np.full((100, 160, 3), (150, 160, 170), np.uint8)
    image[60:, :50] = 60  # a street below the sky
    returns = np.zeros((100, 160), bool)
    returns[30::7, 50::2] = True
    returns[60::7, :50:2] = True
    sky = sky_mask(image, returns, np.full(160, 90))
    assert sky[:50, :40].mean() > 0.95
    assert not sky[:, 60:].any()


@pytest.mark.skipif(not REAL.is_dir(), reason="the real keyframe is not here")
def test_real_frames_keep_their_returns_and_their_sky() -> None:
    sky_share = {}
    for ref in (source := NuScenesSource(NuScenesConfig(root=REAL, version="v1.0-mini"))).select(
        "all"
    ):
        frame = source.load(ref)
        assert frame.lidar_depth_m is not None
        sparse_m = scatter_min_resize(frame.lidar_depth_m, (WIDTH, HEIGHT))
        depth_m = complete_depth(sparse_m, resize_image(frame.image.pixels(), (WIDTH, HEIGHT)))
        assert not np.isnan(depth_m).any() and depth_m.min() > 1
        error = np.abs(depth_m - sparse_m)[sparse_m > 0] / sparse_m[sparse_m > 0]
        assert np.median(error) < 0.01 and np.mean(error < 0.25) > 0.95
        sky_share[ref.camera] = float(np.isinf(depth_m).mean())
    assert 0.15 < sky_share["CAM_FRONT"] < 0.25 and 0.1 < sky_share["CAM_FRONT_RIGHT"] < 0.2
    assert sky_share["CAM_FRONT_LEFT"] < 0.01  # grey pillars from edge to edge


def test_a_frame_costs_no_more_than_some_filters() -> None:
    """About one median filter of 11 x 11 pixels, 0.02 s; measured against it at the same time."""
    image, exact_m = street()
    sparse_m = scan(exact_m)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        ours_s = least_seconds(lambda: complete_depth(sparse_m, image))
        filter_s = least_seconds(lambda: cv2.medianBlur(image, 11))
    finally:
        cv2.setNumThreads(threads)
    assert ours_s < 5 * filter_s


def least_seconds(work: Callable[[], object]) -> float:
    """The least CPU time of some tries."""
    seconds = []
    for _ in range(5):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)
