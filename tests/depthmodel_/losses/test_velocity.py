"""Lengths of ways, not ways."""

import numpy as np
import pytest
import torch
from torch import Tensor

from nightrain.depthmodel.losses.velocity import velocity_loss


def poses(seed: int, batch: int = 3) -> Tensor:
    return torch.randn(batch, 4, 4, generator=torch.Generator().manual_seed(seed))


def test_mean_difference_of_lengths_over_the_pairs_that_are_there() -> None:
    ours, theirs = [poses(0), poses(1)], [poses(2), poses(3)]
    present = [torch.tensor([True, False, True]), torch.tensor([False, False, True])]
    gaps = [
        abs(np.linalg.norm(o[:3, 3].numpy()) - np.linalg.norm(t[:3, 3].numpy()))
        for side in range(2)
        for o, t, has in zip(ours[side], theirs[side], present[side], strict=True)
        if has
    ]
    assert len(gaps) == 3
    assert velocity_loss(ours, theirs, present).item() == pytest.approx(np.mean(gaps), rel=1e-5)


def test_only_the_length_counts() -> None:
    true = poses(4)
    turned = true.clone()
    turned[:, :3, 3] = true[:, [1, 2, 0], 3] * torch.tensor([1.0, -1.0, 1.0])
    turned[:, :3, :3] = 0
    assert velocity_loss([turned], [true]).item() == pytest.approx(0, abs=1e-6)
    turned[:, :3, 3] *= 2
    longer = torch.linalg.vector_norm(true[:, :3, 3], dim=1).mean().item()
    assert velocity_loss([turned], [true]).item() == pytest.approx(longer, rel=1e-5)


def test_gradient_is_finite_at_rest_and_absent_where_nothing_is_known() -> None:
    rest = torch.eye(4).repeat(2, 1, 1).requires_grad_()
    loss = velocity_loss([rest], [poses(5, 2)], [torch.tensor([True, False])])
    loss.backward()
    assert loss > 0 and rest.grad is not None and torch.isfinite(rest.grad).all()
    nobody = velocity_loss([poses(6)], [poses(7)], [torch.zeros(3, dtype=torch.bool)])
    assert nobody == 0
