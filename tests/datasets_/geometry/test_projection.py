import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyquaternion import Quaternion

from nightrain.datasets.frame import scaled_intrinsics
from nightrain.datasets.geometry.projection import (
    camera_from_lidar,
    invert_rigid,
    project_points,
    project_points_md4all,
    rigid_transform,
    scatter_min_resize,
    transform_points,
    unproject_depth,
)

K = np.array([[50.0, 0.0, 32.0], [0.0, 60.0, 24.0], [0.0, 0.0, 1.0]])
SIZE = (64, 48)
seeds = st.integers(0, 2**32 - 1)


def random_transform(rng: np.random.Generator) -> np.ndarray:
    q = rng.normal(size=4)
    return rigid_transform(rng.uniform(-50, 50, 3), q / np.linalg.norm(q))


def test_known_points_land_on_their_pixels_with_their_depth() -> None:
    points_m = np.array([[0.0, 0.0, 5.0], [2.0, -1.0, 10.0], [-0.5, 0.5, 2.0]])
    depth_m = project_points(points_m, K, SIZE)
    assert depth_m.shape == (48, 64) and depth_m.dtype == np.float32
    assert (depth_m[24, 32], depth_m[18, 42], depth_m[39, 20]) == (5.0, 10.0, 2.0)  # 19.5 -> 20
    assert np.count_nonzero(depth_m) == 3


def test_the_nearest_point_wins_whatever_the_order() -> None:
    ray = np.array([[0.1, 0.1, 1.0]])
    points_m = np.concatenate([ray * 9, ray * 4, ray * 7])
    for order in ([0, 1, 2], [1, 0, 2], [2, 1, 0]):
        depth_m = project_points(points_m[order], K, SIZE)
        assert depth_m[depth_m > 0].tolist() == [4.0]


def test_points_behind_too_near_on_the_rim_or_not_finite_are_dropped() -> None:
    on_rim = np.array([(0 - 32) / 50 * 5, 0.0, 5.0])
    beside_rim = np.array([(1 - 32) / 50 * 5, 0.0, 5.0])
    outside = np.array([100.0, 0.0, 5.0])
    points_m = np.array([on_rim, outside, [0, 0, 0.99], [0, 0, -5], [np.nan, 0, 5], [0, 0, np.nan]])
    assert not project_points(points_m, K, SIZE).any()
    assert project_points(beside_rim[None], K, SIZE)[24, 1] == 5.0
    assert project_points(np.array([[0.0, 0.0, 1.0]]), K, SIZE)[24, 32] == 1.0
    assert not project_points(np.zeros((0, 3)), K, SIZE).any()


@given(seeds)
def test_projecting_unprojected_depth_gives_it_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    depth_m = np.zeros((48, 64), np.float32)
    depth_m[1:-1, 1:-1] = rng.uniform(1.01, 200, (46, 62)) * (rng.random((46, 62)) < 0.3)
    again = project_points(unproject_depth(depth_m, K), K, SIZE)
    np.testing.assert_array_equal(again, depth_m)


@given(seeds)
def test_quaternions_agree_with_pyquaternion(seed: int) -> None:
    rng = np.random.default_rng(seed)
    q = Quaternion(rng.normal(size=4)).normalised
    transform = rigid_transform([1.0, 2.0, 3.0], list(q.elements))
    np.testing.assert_allclose(transform[:3, :3], q.rotation_matrix, atol=1e-12)
    np.testing.assert_array_equal(transform[:, 3], [1.0, 2.0, 3.0, 1.0])


@given(seeds)
def test_a_transform_after_its_inverse_is_the_identity(seed: int) -> None:
    rng = np.random.default_rng(seed)
    transform = random_transform(rng)
    points_m = rng.uniform(-100, 100, (20, 3))
    there_and_back = transform_points(
        invert_rigid(transform), transform_points(transform, points_m)
    )
    np.testing.assert_allclose(there_and_back, points_m, atol=1e-9)


@pytest.mark.parametrize(
    ("translation", "quaternion"),
    [
        ([0, 0, 0], [0, 0, 0, 0]),
        ([0, 0, 0], [2, 0, 0, 0]),
        ([0, 0, 0], [1, 0, 0]),
        ([0, 0, float("nan")], [1, 0, 0, 0]),
        ([0, 0, 0], [float("inf"), 0, 0, 0]),
        ([0, 0, "1"], [1, 0, 0, 0]),
        (["x", 0, 0], [1, 0, 0, 0]),
        ([0, 0, [1]], [1, 0, 0, 0]),
        ([0, 0, None], [1, 0, 0, 0]),
        ([0, 0, 10**400], [1, 0, 0, 0]),
        (None, [1, 0, 0, 0]),
        ("abc", [1, 0, 0, 0]),
    ],
)
def test_what_is_no_rigid_transform_is_refused(translation: object, quaternion: object) -> None:
    with pytest.raises(ValueError, match=r"translation|quaternion"):
        rigid_transform(translation, quaternion)


def test_a_static_landmark_needs_ego_motion_compensation() -> None:
    forward = Quaternion(0.5, -0.5, 0.5, -0.5)  # camera axes in the car: z ahead, x right, y down
    T_ego_camera = rigid_transform([1.7, 0.0, 1.5], forward.elements)
    T_ego_lidar = rigid_transform([0.9, 0.0, 1.8], Quaternion(axis=[0, 0, 1], degrees=90).elements)
    T_world_lidar_time = rigid_transform(
        [100, 50, 0], Quaternion(axis=[0, 0, 1], degrees=5).elements
    )
    T_world_camera_time = rigid_transform(
        [101, 50, 0], Quaternion(axis=[0, 0, 1], degrees=8).elements
    )
    landmark_world_m = np.array([[112.0, 52.5, 1.0]])
    camera_m = transform_points(invert_rigid(T_world_camera_time @ T_ego_camera), landmark_world_m)
    u, v = np.rint((camera_m @ K.T)[0, :2] / camera_m[0, 2]).astype(int)

    scan_m = transform_points(invert_rigid(T_world_lidar_time @ T_ego_lidar), landmark_world_m)

    def pixel(T_world_ego_at_camera: np.ndarray) -> tuple[int, int, float]:
        chain = (T_ego_lidar, T_world_lidar_time, T_world_ego_at_camera, T_ego_camera)
        depth_m = project_points(transform_points(camera_from_lidar(*chain), scan_m), K, SIZE)
        (row,), (column,) = np.nonzero(depth_m)
        return int(column), int(row), float(depth_m.max())

    assert pixel(T_world_camera_time) == (u, v, pytest.approx(camera_m[0, 2], rel=1e-6))
    column, _, depth_m = pixel(T_world_lidar_time)  # as if the car had stood still
    assert abs(column - u) >= 2 and abs(depth_m - camera_m[0, 2]) > 0.5


def test_resizing_keeps_the_nearest_depth() -> None:
    sparse_m = np.zeros((4, 8), np.float32)
    sparse_m[0, 0], sparse_m[1, 1], sparse_m[3, 7] = 9.0, 3.0, 5.0
    half_m = scatter_min_resize(sparse_m, (4, 2))
    expected = np.zeros((2, 4), np.float32)
    expected[0, 0], expected[1, 3] = 3.0, 5.0
    np.testing.assert_array_equal(half_m, expected)


@given(seeds, st.integers(1, 80), st.integers(1, 60))
def test_resizing_neither_invents_nor_loses_the_extremes(
    seed: int, width: int, height: int
) -> None:
    rng = np.random.default_rng(seed)
    sparse_m = (rng.uniform(1, 80, (48, 64)) * (rng.random((48, 64)) < 0.1)).astype(np.float32)
    resized_m = scatter_min_resize(sparse_m, (width, height))
    assert resized_m.shape == (height, width)
    assert set(resized_m[resized_m > 0]) <= set(sparse_m[sparse_m > 0])
    assert resized_m[resized_m > 0].min() == sparse_m[sparse_m > 0].min()
    np.testing.assert_array_equal(scatter_min_resize(sparse_m, (64, 48)), sparse_m)


@pytest.mark.parametrize("size", [(32, 16), (16, 48), (23, 17), (64, 48), (100, 70)])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_resizing_is_the_least_of_all_that_fall_together(
    size: tuple[int, int], dtype: type[np.generic]
) -> None:
    """An oracle, pixel by pixel; the largest level of a PNG is a depth, too."""
    rng = np.random.default_rng(2)
    levels = rng.integers(1, 65536, (48, 64)) * (rng.random((48, 64)) < 0.2)
    levels[0, :4], levels[1, :4] = 65535, 0
    sparse = levels.astype(dtype)
    expected = np.zeros((size[1], size[0]), dtype)
    for v, u in zip(*np.nonzero(levels), strict=True):
        y, x = int((v + 0.5) * size[1] / 48), int((u + 0.5) * size[0] / 64)
        if expected[y, x] == 0 or sparse[v, u] < expected[y, x]:
            expected[y, x] = sparse[v, u]
    found = scatter_min_resize(sparse, size)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)


def test_resizing_agrees_with_scaled_intrinsics() -> None:
    rng = np.random.default_rng(1)
    points_m = rng.uniform([-5, -4, 8], [5, 4, 40], (200, 3))
    small = (32, 24)
    resized_m = scatter_min_resize(project_points(points_m, K, SIZE), small)
    direct_m = project_points(points_m, scaled_intrinsics(K, SIZE, small), small)
    both = (resized_m > 0) & (direct_m > 0)
    assert np.mean(resized_m[both] == direct_m[both]) > 0.9
    assert both.sum() > 0.7 * np.count_nonzero(direct_m)  # rounding twice moves some by a pixel


@given(seeds)
def test_md4alls_truth_is_truncated_and_the_last_point_counts(seed: int) -> None:
    """Slow oracle, point by point in the order of the sweep."""
    rng = np.random.default_rng(seed)
    points_m = rng.uniform([-6, -4, -2], [6, 4, 30], (200, 3))
    points_m[:50] = points_m[50:100] * rng.uniform(0.3, 3.0, (50, 1))  # behind one another
    expected = np.zeros((SIZE[1], SIZE[0]), np.float32)
    for x, y, z in points_m:
        if z <= 1.0:
            continue
        u, v = K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]
        if 1 < u < SIZE[0] - 1 and 1 < v < SIZE[1] - 1:
            expected[int(v), int(u)] = z
    np.testing.assert_array_equal(project_points_md4all(points_m, K, SIZE), expected)


def test_md4alls_truth_differs_from_the_nearest_points() -> None:
    points_m = np.array([[0.07, 0.0, 5.0], [0.0, 0.0, 2.0], [0.0, 0.0, 9.0]])
    ours, theirs = project_points(points_m, K, SIZE), project_points_md4all(points_m, K, SIZE)
    assert (ours[24, 32], ours[24, 33]) == (2.0, 5.0)  # 32.7: rounded
    assert (theirs[24, 32], theirs[24, 33]) == (9.0, 0.0)  # truncated, and the last of three
