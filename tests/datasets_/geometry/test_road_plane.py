"""The depth guess for a picture without depth, against a street whose depth is known."""

import numpy as np

from nightrain.datasets.geometry.completion import FAR_M
from nightrain.datasets.geometry.road_plane import flat_world_depth, plane_inverse_depth

INTRINSICS = np.array([[200.0, 0, 128], [0, 200, 60], [0, 0, 1]])
SHAPE = (144, 256)
HEIGHT_M = 1.5


def _T_ego_camera(pitch_rad: float = 0.0) -> np.ndarray:
    """Looks ahead, `pitch_rad` downwards."""
    c, s = np.cos(pitch_rad), np.sin(pitch_rad)
    T = np.eye(4)
    T[:3, :3] = np.array([[0, 0, 1.0], [-1, 0, 0], [0, -1, 0]]) @ [[1, 0, 0], [0, c, -s], [0, s, c]]
    T[2, 3] = HEIGHT_M
    return T


def test_the_plane_of_a_pitched_camera_is_exact() -> None:
    T = _T_ego_camera(0.1)
    inverse = plane_inverse_depth(SHAPE, INTRINSICS, T)
    v, u = np.nonzero(inverse)
    rays = np.stack([u, v, np.ones_like(u)]).astype(float)
    points_m = np.linalg.inv(INTRINSICS) @ rays / inverse[v, u]
    ego_m = T[:3, :3] @ points_m + T[:3, 3:]
    assert len(v) > 1000 and np.abs(ego_m[2]).max() < 1e-3 * points_m[2].max()
    assert inverse[10].max() == 0  # sky


def test_a_street_is_flat_then_far_then_sky() -> None:
    picture = np.full((*SHAPE, 3), 92, np.uint8)
    picture[:30] = (120, 170, 230)  # sky down to row 30, a dark wall down to the horizon at 60
    picture[30:60] = (70, 40, 30)
    depth_m = flat_world_depth(picture, INTRINSICS, _T_ego_camera())
    rows = np.arange(66, 144)
    truth_m = np.repeat(HEIGHT_M * 200 / (rows - 60)[:, None], SHAPE[1], 1)
    assert np.allclose(depth_m[66:], truth_m, rtol=1e-4)
    assert (depth_m[32:60] == FAR_M).all()
    assert np.isinf(depth_m[:28]).all()
