"""Confidence against truth: a textured plane seen by cameras whose motion is known."""

import numpy as np
import pytest

from nightrain.depthmodel.evaluation.confidence import (
    SourceView,
    flip_confidence,
    photometric_confidence,
)

SIZE = (160, 96)  # (width, height)
K = np.array([[120.0, 0.0, 79.5], [0.0, 118.0, 50.0], [0.0, 0.0, 1.0]])
NORMAL, DISTANCE_M = np.array([0.15, -0.5, 1.0]), 9.0  # the plane NORMAL . X = DISTANCE_M
IDENTITY = np.eye(4)


def motion(x_m: float = 0.0, z_m: float = 0.0, yaw: float = 0.0) -> np.ndarray:
    """T_view_camera (4, 4): points of the labelled camera to a view's."""
    c, s = np.cos(yaw), np.sin(yaw)
    T_view_camera = np.eye(4)
    T_view_camera[:3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
    T_view_camera[:3, 3] = [x_m, 0.02, z_m]
    return T_view_camera


def on_the_plane(T_view_camera: np.ndarray, intrinsics: np.ndarray = K) -> np.ndarray:
    """Points (H, W, 3) of the plane in the labelled camera that a view's pixels show."""
    u, v = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    rays = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(intrinsics).T  # (H, W, 3)
    T_camera_view = np.linalg.inv(T_view_camera)
    origin, directions = T_camera_view[:3, 3], rays @ T_camera_view[:3, :3].T
    scale = (DISTANCE_M - NORMAL @ origin) / (directions @ NORMAL)
    return origin + scale[..., None] * directions


def render(
    T_view_camera: np.ndarray, intrinsics: np.ndarray = K, contrast: float = 55.0
) -> np.ndarray:
    """The plane's pattern, a sum of waves, in a view: (H, W, 3) uint8, exact at every pixel."""
    points = on_the_plane(T_view_camera, intrinsics)
    rng, value = np.random.default_rng(4), np.zeros((SIZE[1], SIZE[0]))
    for _ in range(24):
        value += np.sin(points @ rng.normal(0.0, 6.0, 3) + rng.uniform(0, 6.28))
    grey = 128 + contrast * value / value.std() / 1.5
    return np.repeat(np.clip(np.rint(grey), 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def views(*moves: np.ndarray, **options: float) -> list[SourceView]:
    return [SourceView(image=render(T, **options), intrinsics=K, T_view_camera=T) for T in moves]


AHEAD, BEHIND = motion(z_m=-0.9, yaw=0.01), motion(x_m=0.1, z_m=0.9, yaw=-0.02)
TRUE_M = on_the_plane(IDENTITY)[..., 2].astype(np.float32)


@pytest.mark.parametrize("factor", [1.2, 1 / 1.2])
def test_right_depth_is_trusted_and_depth_a_fifth_wrong_is_not(factor: float) -> None:
    both = views(AHEAD, BEHIND)
    right = photometric_confidence(render(IDENTITY), TRUE_M, K, both)
    wrong = photometric_confidence(render(IDENTITY), TRUE_M * np.float32(factor), K, both)
    assert right.dtype == np.float32 and right.shape == TRUE_M.shape
    assert right.min() >= 0 and right.max() <= 1
    assert (right > 0.9).mean() > 0.97
    # Around the point that both cameras move towards, no depth can be told from another.
    assert (wrong < 0.5).mean() > 0.85 and wrong.mean() < 0.25


def test_only_the_wrong_part_of_a_map_loses_trust() -> None:
    depth_m = TRUE_M.copy()
    depth_m[50:80, 10:50] *= 1.2
    made = photometric_confidence(render(IDENTITY), depth_m, K, views(AHEAD, BEHIND))
    assert made[55:75, 15:45].mean() < 0.2
    far = np.ones_like(made, bool)
    far[45:85, 5:55] = False
    assert made[far].mean() > 0.95


def test_a_view_with_its_own_lens_counts_as_well() -> None:
    other_K = np.diag([0.8, 0.8, 1.0]) @ K
    view = SourceView(image=render(AHEAD, other_K), intrinsics=other_K, T_view_camera=AHEAD)
    right = photometric_confidence(render(IDENTITY), TRUE_M, K, [view])
    wrong = photometric_confidence(render(IDENTITY), TRUE_M * np.float32(1.2), K, [view])
    assert right.mean() > 0.95 and wrong.mean() < 0.5


def test_without_evidence_nothing_is_said() -> None:
    wrong_m = TRUE_M * np.float32(1.2)
    grey = views(AHEAD, contrast=0)
    flat = photometric_confidence(render(IDENTITY, contrast=0), wrong_m, K, grey)
    turned = motion(yaw=0.03)
    turned[:3, 3] = 0  # a camera that only turns sees all depths alike
    seen = photometric_confidence(render(IDENTITY), wrong_m, K, views(turned))
    behind = motion(z_m=-1000.0)
    unseen = SourceView(image=render(IDENTITY), intrinsics=K, T_view_camera=behind)
    assert flat.min() > 0.99 and seen.min() > 0.99
    assert photometric_confidence(render(IDENTITY), wrong_m, K, [unseen]).min() == 1.0
    assert photometric_confidence(render(IDENTITY), wrong_m, K, []).min() == 1.0


def test_what_moves_along_with_the_camera_is_left_to_the_other_witness() -> None:
    image = render(IDENTITY)
    along = SourceView(image=image, intrinsics=K, T_view_camera=motion(x_m=0.5))
    assert (photometric_confidence(image, TRUE_M, K, [along]) == 1.0).mean() > 0.99


def test_flip_confidence_is_the_exponential_of_the_disagreement() -> None:
    rng = np.random.default_rng(0)
    depth_m = rng.uniform(0.1, 80.0, (12, 20)).astype(np.float32)
    assert flip_confidence(depth_m, depth_m[:, ::-1]).min() > 0.999
    other_m = depth_m * rng.uniform(0.5, 2.0, depth_m.shape).astype(np.float32)
    made = flip_confidence(depth_m, other_m[:, ::-1], scale=0.2)
    ratio = np.maximum(depth_m / other_m, other_m / depth_m)
    assert np.allclose(made, ratio ** (-1 / 0.2), atol=1e-5) and made.dtype == np.float32
    assert flip_confidence(depth_m, 1.2 * depth_m[:, ::-1]).max() < 0.17
