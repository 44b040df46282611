"""The warp against analytic motion and a projection in numpy; the minimum and its masks."""

import numpy as np
import pytest
import torch
from kornia.geometry.depth import warp_frame_depth
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation
from torch import Tensor

from nightrain.datasets.frame import scaled_intrinsics
from nightrain.depthmodel.losses.photometric import photometric_error
from nightrain.depthmodel.losses.reprojection import (
    Warped,
    min_reprojection,
    min_reprojection_error,
    warp,
)

HEIGHT, WIDTH = 24, 32
K = torch.tensor([[40.0, 0.0, 15.5], [0.0, 44.0, 11.5], [0.0, 0.0, 1.0]])[None]


def picture(seed: int, batch: int = 1, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Tensor:
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(seed))


def plane(depth_m: float, batch: int = 1) -> Tensor:
    return torch.full((batch, 1, HEIGHT, WIDTH), depth_m)


def pose(rotation_deg: tuple[float, ...] = (0, 0, 0), shift_m: tuple[float, ...] = (0, 0, 0)):
    T = torch.eye(4)
    T[:3, :3] = torch.from_numpy(Rotation.from_euler("xyz", rotation_deg, degrees=True).as_matrix())
    T[:3, 3] = torch.tensor(shift_m)
    return T[None]


def projected(
    depth_m: np.ndarray, T: np.ndarray, K_target: np.ndarray, K_source: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """u, v, z (H, W) in the source camera, a pixel at a time in double precision."""
    out = np.zeros((3, *depth_m.shape))
    for y, x in np.ndindex(*depth_m.shape):
        ray = np.linalg.solve(K_target, np.array([x, y, 1.0]))
        at = T[:3, :3] @ (ray * depth_m[y, x]) + T[:3, 3]
        u, v, w = K_source @ at
        out[:, y, x] = u / w, v / w, at[2]
    return out[0], out[1], out[2]


# --- the warp ---


def test_no_motion_gives_the_image() -> None:
    source = picture(0, batch=2)
    depth_m = 0.1 + 79.9 * torch.rand(2, 1, HEIGHT, WIDTH)
    warped = warp(source, depth_m, pose().expand(2, 4, 4), K.expand(2, 3, 3), K.expand(2, 3, 3))
    assert warped.valid.all()
    torch.testing.assert_close(warped.image, source, atol=2e-5, rtol=0)


@pytest.mark.parametrize(("axis", "pixels"), [(0, 5), (0, -3), (1, 4)])
def test_a_plane_shifts_by_focal_length_times_way_over_depth(axis: int, pixels: int) -> None:
    depth_m, focal = 8.0, (40.0, 44.0)[axis]
    way = [0.0, 0.0, 0.0]
    way[axis] = pixels * depth_m / focal
    source = picture(1)
    warped = warp(source, plane(depth_m), pose(shift_m=tuple(way)), K, K)
    dim, length = (3, WIDTH) if axis == 0 else (2, HEIGHT)
    kept = length - abs(pixels)
    here, there = (0, pixels) if pixels > 0 else (-pixels, 0)
    torch.testing.assert_close(
        warped.image.narrow(dim, here, kept), source.narrow(dim, there, kept), atol=1e-4, rtol=0
    )
    assert warped.valid.narrow(dim, here, kept).all()
    assert warped.valid.sum() == kept * warped.valid.numel() // length


def test_general_motion_between_two_cameras_is_that_of_numpy() -> None:
    rng = np.random.default_rng(2)
    depth_m = rng.uniform(2, 30, (HEIGHT, WIDTH))
    T = pose((4, -7, 3), (0.4, -0.2, 0.9))
    K_source = torch.tensor([[55.0, 0.0, 20.0], [0.0, 50.0, 13.0], [0.0, 0.0, 1.0]])[None]
    source = picture(3, size=(30, 44))
    u, v, z = projected(depth_m, T[0].double().numpy(), K[0].numpy(), K_source[0].numpy())
    inside = (z > 0.01) & (u >= -0.5) & (u <= 43.5) & (v >= -0.5) & (v <= 29.5)
    warped = warp(source, torch.from_numpy(depth_m)[None, None].float(), T, K, K_source)
    assert 0.3 < inside.mean() < 0.95
    np.testing.assert_array_equal(warped.valid[0, 0].numpy(), inside)
    for channel in range(3):
        expected = map_coordinates(source[0, channel].numpy(), [v, u], order=1, mode="nearest")
        found = warped.image[0, channel].numpy()
        np.testing.assert_allclose(found[inside], expected[inside], atol=2e-4)


def test_where_kornia_sees_the_source_it_sees_the_same() -> None:
    T, depth_m = pose((2, 5, -3), (-0.3, 0.1, 0.5)), 3 + 20 * picture(4)[:, :1]
    ours = warp(picture(5), depth_m, T, K, K)
    theirs = warp_frame_depth(picture(5), depth_m, T, K)
    beyond_border = warp_frame_depth(torch.ones(1, 1, HEIGHT, WIDTH), depth_m, T, K) < 0.999
    same = (ours.image - theirs).abs().amax(1, keepdim=True) < 2e-4
    assert (same | beyond_border).all() and (~beyond_border).float().mean() > 0.4


def test_intrinsics_after_resize_turn_about_the_middle_of_the_small_image() -> None:
    """A half turn about the axis mirrors both ways, if the principal point is in the middle."""
    full = np.array([[160.0, 0.0, 63.5], [0.0, 176.0, 47.5], [0.0, 0.0, 1.0]])
    small = scaled_intrinsics(full, (128, 96), (WIDTH, HEIGHT))
    K_small = torch.from_numpy(small)[None]
    source = picture(6)
    warped = warp(source, plane(7.0), pose((0, 0, 180)), K_small, K_small)
    torch.testing.assert_close(warped.image, source.flip(2, 3), atol=1e-4, rtol=0)
    assert warped.valid.all()
    naive = torch.from_numpy(full * np.array([[0.25], [0.25], [1.0]]))[None]  # no half pixels
    off = warp(source, plane(7.0), pose((0, 0, 180)), naive, naive).image - source.flip(2, 3)
    assert off.abs().mean() > 0.1


def test_nothing_is_seen_behind_the_camera() -> None:
    """5 m on along the road, what is nearer than that lies behind the source."""
    depth_m = plane(3.0)
    depth_m[..., WIDTH // 2 :] = 20.0
    warped = warp(picture(7), depth_m, pose(shift_m=(0, 0, -5)), K, K)
    assert not warped.valid[..., : WIDTH // 2].any()
    assert warped.valid[..., 8:16, WIDTH // 2 : WIDTH // 2 + 5].all()


@pytest.mark.parametrize("depth_m", [0.1, 3.0, 5.0, 80.0])  # 5.0: exactly in the camera's plane
@pytest.mark.parametrize("shift_m", [(0.0, 0.0, -5.0), (3.0, 0.0, 0.0), (0.0, 0.0, 0.0)])
def test_gradients_are_finite_everywhere(depth_m: float, shift_m: tuple[float, ...]) -> None:
    depth = plane(depth_m).requires_grad_()
    T = pose((1, 2, 3), shift_m).requires_grad_()
    warped = warp(picture(8), depth, T, K, K)
    photometric_error(picture(9), warped.image).mean().backward()
    assert depth.grad is not None and torch.isfinite(depth.grad).all()
    assert T.grad is not None and torch.isfinite(T.grad).all()
    assert not depth.grad[~warped.valid].any()


def test_gradients_of_depth_and_pose_are_those_of_differences() -> None:
    source = picture(10, size=(6, 7)).double()
    small = torch.tensor([[9.0, 0.0, 3.0], [0.0, 9.0, 2.5], [0.0, 0.0, 1.0]]).double()[None]
    depth_m = (4 + 3 * torch.rand(1, 1, 6, 7, generator=torch.Generator().manual_seed(1))).double()
    T = pose((1, 2, 1), (0.11, 0.07, 0.3)).double()
    assert torch.autograd.gradcheck(
        lambda d, p: warp(source, d, p, small, small).image,
        (depth_m.requires_grad_(), T.requires_grad_()),
    )


def test_autocast_does_not_coarsen_geometry() -> None:
    arguments = (picture(11), 3 + 20 * picture(12)[:, :1], pose((2, 1, 0), (0.2, 0, 0.5)), K, K)
    plain = warp(*arguments)
    with torch.autocast("cpu", torch.bfloat16):
        cast = warp(*arguments)
    assert cast.image.dtype == torch.float32 and torch.equal(cast.image, plain.image)


# --- the minimum over sources ---


def made(error_of: Tensor, valid: Tensor) -> Warped:
    return Warped(error_of, valid.expand(-1, 1, HEIGHT, WIDTH))


def test_the_least_error_of_the_sources_that_see_the_pixel() -> None:
    target, near, far = picture(20, 2), picture(21, 2), picture(22, 2)
    left = torch.zeros(2, 1, HEIGHT, WIDTH, dtype=torch.bool)
    left[..., :20] = True  # the first source sees the left, the second the right: 8..19 both
    right = torch.zeros_like(left)
    right[..., 8:30] = True
    warped = [made(near, left), made(far, right)]
    a, b = photometric_error(target, near).numpy(), photometric_error(target, far).numpy()
    expected = np.concatenate(
        [
            a[..., :8],
            np.minimum(a, b)[..., 8:20],
            b[..., 20:30],
            np.full((2, 1, HEIGHT, 2), np.inf),
        ],
        axis=-1,
    )
    np.testing.assert_allclose(min_reprojection_error(target, warped).numpy(), expected)
    result = min_reprojection(target, [near, far], warped, automask=False)
    assert result.loss.item() == pytest.approx(expected[..., :30].mean(), rel=1e-5)
    assert torch.equal(result.seen, left | right) and torch.equal(result.active, result.seen)


def test_a_source_that_a_sample_lacks_is_never_looked_at() -> None:
    target, source = picture(23, 2), picture(24, 2)
    everywhere = torch.ones(2, 1, 1, 1, dtype=torch.bool)
    absent = made(target, everywhere)  # it would be perfect, were it there
    here, has = torch.tensor([True, True]), torch.tensor([True, False])
    warped, present = [made(source, everywhere), absent], [here, has]
    error = min_reprojection_error(target, warped, present)
    assert error[0].max() < 1e-6
    torch.testing.assert_close(error[1], photometric_error(target, source)[1])
    result = min_reprojection(target, [source, target], warped, present)
    # unmoved, the second is perfect in the first sample and is not there in the other
    assert not result.active.any() and result.seen.all()


def test_what_zeros_in_place_of_an_absent_source_do() -> None:
    """A loader fills what a sample lacks: no image, no pose, no camera."""
    target, nothing = picture(25), torch.zeros(1, 3, HEIGHT, WIDTH)
    depth_m = plane(5.0).requires_grad_()
    warped = warp(nothing, depth_m, torch.zeros(1, 4, 4), K, torch.zeros(1, 3, 3))
    result = min_reprojection(target, [nothing], [warped], [torch.tensor([False])])
    result.loss.backward()
    assert result.loss == 0 and not result.seen.any()
    assert depth_m.grad is not None and not depth_m.grad.any()


def test_automask_leaves_out_what_does_not_move() -> None:
    """A strip stays the same while the warp moves everything: only the rest is active."""
    depth_m, shift = plane(8.0), pose(shift_m=(5 * 8 / 40, 0, 0))
    source = picture(26)
    target = source.roll(-5, 3)  # the plane's true motion
    target[..., :10, :] = source[..., :10, :]  # and a car that drives along
    warped = warp(source, depth_m, shift, K, K)
    result = min_reprojection(target, [source], [warped])
    assert not result.active[..., :9, :].any()
    assert result.active[..., 12:, : WIDTH - 6].all()
    error = photometric_error(target, warped.image)
    expected = error[result.active].sum() / warped.valid.sum()
    torch.testing.assert_close(result.loss, expected)


def test_a_standing_car_learns_nothing() -> None:
    target = picture(27)
    depth_m = plane(9.0).requires_grad_()
    warped = warp(target, depth_m, pose(shift_m=(0.4, 0, 0)), K, K)
    result = min_reprojection(target, [target], [warped])
    result.loss.backward()
    assert not result.active.any() and result.loss == 0
    assert depth_m.grad is not None and not depth_m.grad.any()


def test_a_tie_is_inactive() -> None:
    target, source = picture(28), picture(29)
    everywhere = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    assert not min_reprojection(target, [source], [made(source, everywhere)]).active.any()


def test_nan_is_not_swallowed() -> None:
    target, broken = picture(30), picture(31)
    broken[..., 5, 5] = torch.nan
    everywhere = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    for automask in (True, False):
        warped = [made(broken, everywhere)]
        assert min_reprojection(target, [target], warped, automask=automask).loss.isnan()


def test_no_source_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="there are no sources"):
        min_reprojection_error(picture(32), [])
