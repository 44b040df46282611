"""Poses are rigid, start small, follow the right-hand rule and can be inverted."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.config import PoseConfig
from nightrain.depthmodel.network.pose import PoseNet, inverse_pose, pose_matrix
from nightrain.depthmodel.network.presets import paper_pose, world_pose

TINY = PoseConfig(size="test", hidden_channels=8)


def assert_rigid(T: torch.Tensor, atol: float = 1e-5) -> None:
    R = T[:, :3, :3].double()
    identity = torch.eye(3, dtype=torch.float64).expand_as(R)
    torch.testing.assert_close(R @ R.transpose(1, 2), identity, atol=atol, rtol=0)
    torch.testing.assert_close(
        torch.linalg.det(R), torch.ones(len(R), dtype=torch.float64), atol=atol, rtol=0
    )
    assert torch.equal(T[:, 3], torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=T.dtype).expand(len(T), 4))


@pytest.mark.parametrize("scale", [1e-9, 1e-4, 1e-3, 0.1, 3.0])
def test_rotation_is_that_of_the_axis_angle_vector(scale: float) -> None:
    rng = np.random.default_rng(0)
    vectors, translations = rng.normal(size=(2, 20, 3))
    T = pose_matrix(torch.from_numpy(vectors * scale), torch.from_numpy(translations))
    expected = Rotation.from_rotvec(vectors * scale).as_matrix()
    np.testing.assert_allclose(T[:, :3, :3].numpy(), expected, atol=1e-9)
    np.testing.assert_array_equal(T[:, :3, 3].numpy(), translations)
    assert_rigid(T, 1e-9)


def test_the_inverse_undoes_the_motion() -> None:
    rng = torch.Generator().manual_seed(0)
    T = pose_matrix(torch.randn(20, 3, generator=rng), 5 * torch.randn(20, 3, generator=rng))
    identity = torch.eye(4).expand(20, 4, 4)
    torch.testing.assert_close(inverse_pose(T) @ T, identity, atol=1e-5, rtol=0)
    torch.testing.assert_close(inverse_pose(T), torch.linalg.inv(T), atol=1e-5, rtol=1e-5)


def test_no_rotation_has_a_gradient() -> None:
    vector = torch.zeros(2, 3, requires_grad=True)
    pose_matrix(vector, torch.zeros(2, 3))[:, 0, 1].sum().backward()  # R[0, 1] = -w_z
    assert vector.grad is not None
    torch.testing.assert_close(vector.grad, torch.tensor([[0.0, 0.0, -1.0]]).expand(2, 3))


@pytest.mark.parametrize("config", [TINY, world_pose(), paper_pose(pretrained=False)])
def test_an_untrained_network_sees_almost_no_motion(config: PoseConfig) -> None:
    torch.manual_seed(0)
    net = PoseNet(config).eval()
    with torch.no_grad():
        T = net(torch.rand(2, 3, 64, 96), torch.rand(2, 3, 64, 96))
    assert T.shape == (2, 4, 4)
    assert_rigid(T)
    assert (T - torch.eye(4)).abs().max() < 0.05


def test_a_gradient_reaches_every_weight() -> None:
    torch.manual_seed(0)
    net = PoseNet(TINY).train()
    net(torch.rand(2, 3, 64, 96), torch.rand(2, 3, 64, 96))[:, :3].square().sum().backward()
    assert not [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]


def test_the_order_of_the_frames_matters() -> None:
    torch.manual_seed(0)
    net = PoseNet(TINY).eval()
    a, b = torch.rand(2, 1, 3, 64, 96)
    with torch.no_grad():
        assert not torch.allclose(net(a, b), net(b, a), atol=1e-7)


def test_a_motion_can_be_learnt() -> None:
    torch.manual_seed(0)
    net = PoseNet(PoseConfig(size="test", hidden_channels=8, translation_scale_m=0.1)).train()
    target, source = torch.rand(2, 2, 3, 64, 96)
    motion = pose_matrix(torch.tensor([[0.0, 0.02, 0.0]] * 2), torch.tensor([[0.0, 0.0, -0.5]] * 2))
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    losses: list[float] = []
    for _ in range(60):
        loss = (net(target, source) - motion).square().sum(dim=(1, 2)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 50


def test_frames_of_two_sizes_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="two of the same"):
        PoseNet(TINY)(torch.rand(1, 3, 64, 96), torch.rand(1, 3, 64, 64))
