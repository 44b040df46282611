"""Simulated LiDAR against the geometry of a plane and a wall."""

import numpy as np

from nightrain.depthmodel.completion.simulated_lidar import (
    KITTI,
    NUSCENES,
    LidarSettings,
    rings_of,
    simulated_returns,
    with_faults,
    with_parallax,
    without_rings,
)

K = np.array([[320.0, 0, 159.5], [0, 320.0, 79.5], [0, 0, 1]])
HEIGHT_M, WALL_M = 1.6, 30.0
SHAPE = (192, 320)


def street() -> np.ndarray:
    """Exact depth (H, W): a road 1.6 m below the camera that ends at a wall at 30 m."""
    down = (np.arange(SHAPE[0]) - K[1, 2]) / K[1, 1]
    road = np.where(down > 0, HEIGHT_M / np.maximum(down, 1e-6), np.inf)
    return np.repeat(np.minimum(road, WALL_M)[:, None], SHAPE[1], axis=1).astype(np.float32)


def test_rings_meet_the_road_where_their_elevation_says() -> None:
    """A ring at elevation e of a LiDAR at height h meets the road at the distance h / tan(-e)."""
    lidar = LidarSettings(-20.0, -4.0, 5, 0.2, (0.0, -0.4, 0.0))
    sparse_m = simulated_returns(street(), K, lidar)
    v, u = np.nonzero(sparse_m)
    x = (u - K[0, 2]) / K[0, 0] * sparse_m[v, u]
    on_road = sparse_m[v, u] < WALL_M - 0.5
    distance = np.hypot(x, sparse_m[v, u])[on_road]
    expected = (HEIGHT_M + 0.4) / np.tan(np.radians(-np.linspace(-20, -4, 5)))
    error = np.abs(distance[:, None] / expected - 1).min(axis=1)
    assert len(distance) > 200 and np.median(error) < 0.01 and error.max() < 0.06
    rings = rings_of(sparse_m, K, lidar)
    nearest = np.abs(np.hypot(x, sparse_m[v, u])[:, None] - expected).argmin(axis=1)
    assert (rings == nearest)[on_road].all()


def test_returns_are_values_of_the_exact_depth_and_at_most_one_per_beam() -> None:
    exact_m = street()
    for lidar in (NUSCENES, KITTI):
        sparse_m = simulated_returns(exact_m, K, lidar)
        hit = sparse_m > 0
        assert np.array_equal(sparse_m[hit], exact_m[hit])
        rings = np.bincount(rings_of(sparse_m, K, lidar), minlength=lidar.num_rings)
        width_deg = 2 * np.degrees(np.arctan(0.5 * SHAPE[1] / K[0, 0]))
        assert 0 < rings.max() <= 1.35 * width_deg / lidar.azimuth_step_deg
    top_row = np.nonzero(hit.any(axis=1))[0].min()
    assert abs(np.degrees(np.arctan((K[1, 2] - top_row) / K[1, 1])) - KITTI.highest_deg) < 0.6


def test_rings_are_hidden_whole() -> None:
    sparse_m = simulated_returns(street(), K, NUSCENES)
    hidden = np.arange(NUSCENES.num_rings) % 2 == 0
    rest = without_rings(sparse_m, K, hidden)
    assert (rings_of(rest, K, NUSCENES) % 2 == 1).all() and (rest > 0).any()


def test_faults_lose_move_and_replace_returns() -> None:
    exact_m = street()
    exact_m[60:150, 100:160] = 8.0  # an object before the wall
    sparse_m = simulated_returns(exact_m, K, KITTI)
    seen_past = with_parallax(sparse_m, exact_m, np.random.default_rng(0), share=1.0)
    changed = seen_past != sparse_m
    assert changed.any() and (seen_past[changed] > 1.2 * sparse_m[changed]).all()
    assert set(np.nonzero(changed & (exact_m == 8.0))[1]) <= {*range(100, 106), *range(154, 160)}
    faulty = with_faults(sparse_m, np.random.default_rng(0))
    kept = (faulty > 0) & (sparse_m > 0)
    assert not (faulty[sparse_m == 0] > 0).any() and kept.sum() > 0.6 * (sparse_m > 0).sum()
    assert np.median(np.abs(faulty - sparse_m)[kept]) < 0.03
