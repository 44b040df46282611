"""Edge-aware smoothness against loops in numpy."""

import numpy as np
import pytest
import torch
from torch import Tensor

from nightrain.depthmodel.losses.smoothness import smoothness_loss


def maps(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return 0.05 + torch.rand(2, 1, 6, 8, generator=generator), torch.rand(
        2, 3, 6, 8, generator=generator
    )


def test_is_the_formula() -> None:
    inverse_depth, image = maps(0)
    d, colour = inverse_depth.double().numpy()[:, 0], image.double().numpy()
    d = d / d.mean((1, 2), keepdims=True)
    x = [
        abs(d[n, i, j + 1] - d[n, i, j])
        * np.exp(-np.abs(colour[n, :, i, j + 1] - colour[n, :, i, j]).mean())
        for n, i, j in np.ndindex(2, 6, 7)
    ]
    y = [
        abs(d[n, i + 1, j] - d[n, i, j])
        * np.exp(-np.abs(colour[n, :, i + 1, j] - colour[n, :, i, j]).mean())
        for n, i, j in np.ndindex(2, 5, 8)
    ]
    expected = np.mean(x) + np.mean(y)
    assert smoothness_loss(inverse_depth, image).item() == pytest.approx(expected, rel=1e-5)


def test_scale_does_not_count_and_flat_depth_costs_nothing() -> None:
    inverse_depth, image = maps(1)
    loss = smoothness_loss(inverse_depth, image)
    torch.testing.assert_close(smoothness_loss(0.01 * inverse_depth, image), loss)
    assert smoothness_loss(torch.full_like(inverse_depth, 1 / 80), image) == 0


def test_a_step_is_cheaper_at_an_edge_of_the_image() -> None:
    inverse_depth = torch.full((1, 1, 6, 8), 0.1)
    inverse_depth[..., 4:] = 0.2
    edge = torch.zeros(1, 3, 6, 8)
    edge[..., 4:] = 1.0
    plain = smoothness_loss(inverse_depth, torch.zeros_like(edge))
    torch.testing.assert_close(smoothness_loss(inverse_depth, edge), plain * np.exp(-1))
