"""Planes seen by two cameras give their depth; rays against numpy."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from nightrain.datasets.frame import scaled_intrinsics
from nightrain.depthmodel.auxview.matching import Descriptor, Match, cells, sample
from nightrain.depthmodel.auxview.plane_sweep import PlaneSweep, rays_of
from nightrain.depthmodel.config import AuxViewConfig

SIZE, GRID, CHANNELS = (64, 160), (16, 40), 8  # cells of 4 pixels
K = torch.tensor([[120.0, 0.0, 79.0], [0.0, 130.0, 33.0], [0.0, 0.0, 1.0]])[None]
K_AUX = torch.tensor([[125.0, 0.0, 82.0], [0.0, 128.0, 30.0], [0.0, 0.0, 1.0]])[None]


def pose(degrees: tuple[float, ...], metres: tuple[float, ...]) -> Tensor:
    T = torch.eye(4)
    T[:3, :3] = torch.from_numpy(Rotation.from_euler("xyz", degrees, degrees=True).as_matrix())
    T[:3, 3] = torch.tensor(metres)
    return T[None]


ASIDE = pose((1, -3, 2), (-0.9, 0.1, 0.2))


def texture(seed: int) -> Tensor:
    return torch.randn(1, CHANNELS, *GRID, generator=torch.Generator().manual_seed(seed))


def swept(depth_m: float, T: Tensor, first: Tensor | None, other: Tensor | None = None) -> Match:
    """Match of a plane of one depth in the target's camera: the target samples the other view."""
    torch.manual_seed(0)
    other = texture(1) if other is None else other
    rays = rays_of(K, K_AUX, T, SIZE, GRID)
    place, _ = rays.at(torch.full((1, 1, *GRID), 1 / depth_m))
    describe = Descriptor(CHANNELS, 16)
    with torch.no_grad():
        target = describe(sample(other, place))
        return PlaneSweep(AuxViewConfig(alignment="pose"))(
            target, describe(texture(1)), rays, first
        )


def test_rays_are_those_of_numpy_through_pixels() -> None:
    """Cells to pixels and back by `scaled_intrinsics`, whose convention the datasets have."""
    depth_m = 7.0
    small, small_aux = (
        scaled_intrinsics(k[0].double().numpy(), SIZE[::-1], GRID[::-1]) for k in (K, K_AUX)
    )
    place, ahead = rays_of(K, K_AUX, ASIDE, SIZE, GRID).at(torch.full((1, 1, *GRID), 1 / depth_m))
    T = ASIDE[0].double().numpy()
    for y, x in ((0, 0), (5, 31), (15, 39)):
        point = np.linalg.solve(small, [x, y, 1.0]) * depth_m
        u, v, w = small_aux @ (T[:3, :3] @ point + T[:3, 3])
        np.testing.assert_allclose(place[0, :, y, x], [u / w, v / w], rtol=1e-4)
    assert ahead.all()


@pytest.mark.parametrize("depth_m", [4.0, 9.0])
@pytest.mark.parametrize("known", [True, False])
def test_a_plane_seen_by_two_cameras_gives_its_depth(depth_m: float, known: bool) -> None:
    first = torch.full((1, 1, *SIZE), 1.4 / depth_m) if known else None  # the first is wrong
    match = swept(depth_m, ASIDE, first)
    assert match.inverse_depth is not None
    sure = match.validity > 0.5
    off = (match.inverse_depth * depth_m).log().abs()[sure]
    assert sure.float().mean() > 0.4 and off.median() < 0.06 and off.quantile(0.9) < 0.2
    place, _ = rays_of(K, K_AUX, ASIDE, SIZE, GRID).at(match.inverse_depth)
    torch.testing.assert_close(match.shift, place - cells(*GRID, place), atol=1e-4, rtol=0)


def test_without_a_way_between_the_cameras_no_depth_is_believed() -> None:
    """A turn alone matches at all depths."""
    match = swept(6.0, pose((1, -2, 1), (0, 0, 0)), torch.full((1, 1, *SIZE), 1 / 6))
    assert match.validity.max() < 1e-3


def test_another_scene_is_hardly_valid() -> None:
    first = torch.full((1, 1, *SIZE), 1 / 6.0)
    right, wrong = swept(6.0, ASIDE, first), swept(6.0, ASIDE, first, texture(2))
    assert wrong.validity.mean() < 0.1 < 0.4 < right.validity.mean()


def test_behind_the_other_camera_nothing_is_seen() -> None:
    rays = rays_of(K, K, pose((0, 0, 0), (0, 0, -5)), SIZE, GRID)
    near, far = (rays.at(torch.full((1, 1, *GRID), 1 / d)) for d in (4.0, 20.0))
    assert not near[1].any() and far[1].all() and torch.isfinite(near[0]).all()


def test_no_gradient_reaches_the_first_depth() -> None:
    first = torch.full((1, 1, *SIZE), 0.2, requires_grad=True)
    describe = Descriptor(CHANNELS, 16)
    rays = rays_of(K, K_AUX, ASIDE, SIZE, GRID)
    sweep = PlaneSweep(AuxViewConfig(alignment="pose", num_planes=5))
    match = sweep(describe(texture(1)), describe(texture(2)), rays, first)
    assert match.inverse_depth is not None
    (match.inverse_depth.sum() + match.validity.sum()).backward()
    assert first.grad is None and describe.project.weight.grad is not None
    assert torch.isfinite(describe.project.weight.grad).all()
    assert describe.project.weight.grad.any()
