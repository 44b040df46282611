"""Statistics of features against numpy on all of them at once; dead channels and bad input."""

import numpy as np
import pytest
import torch
from torch import Tensor

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.restoration.feature_statistics import MIN_DEVIATION, feature_statistics


def maps(num: int = 4, channels: int = 6) -> list[Tensor]:
    """Correlated channels of different mean and size, in maps of different shapes."""
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(channels, channels, generator=generator)
    scale = torch.logspace(-0.5, 1, channels)[:, None, None]
    return [
        torch.einsum("kc,bchw->bkhw", mix, torch.randn(2, channels, 3, 2 + i, generator=generator))
        * scale
        + 7
        for i in range(num)
    ]


def places(features: list[Tensor]) -> np.ndarray:
    """All places (n, C) in float64."""
    flat = [one.permute(0, 2, 3, 1).reshape(-1, one.shape[1]) for one in features]
    return torch.cat(flat).double().numpy()


def test_mean_and_deviation_are_those_of_all_places_together() -> None:
    features = maps()
    found = feature_statistics(iter(features))
    np.testing.assert_allclose(found.mean, places(features).mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.std, places(features).std(0), rtol=1e-12)
    assert found.basis is None and found.component_std is None


def test_a_large_mean_does_not_swallow_a_small_variance() -> None:
    noise = torch.randn(3, 2, 4, 8, 8, dtype=torch.float64)
    found = feature_statistics(1e7 + 1e-2 * noise)
    flat = noise.permute(0, 1, 3, 4, 2).reshape(-1, 4).numpy()
    np.testing.assert_allclose(found.std, 1e-2 * flat.std(0), rtol=1e-6)


def test_components_are_the_leading_ones_of_the_correlation() -> None:
    features = maps()
    found = feature_statistics(features, 3)
    assert found.basis is not None and found.component_std is not None
    values, vectors = np.linalg.eigh(np.corrcoef(places(features).T))
    np.testing.assert_allclose(found.component_std, np.sqrt(values[::-1][:3]), rtol=1e-8)
    basis = found.basis.numpy()
    np.testing.assert_allclose(basis @ basis.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.abs(np.diag(basis @ vectors[:, ::-1][:, :3])), 1, atol=1e-8)
    assert (basis[range(3), np.abs(basis).argmax(1)] > 0).all()


def test_one_huge_channel_does_not_raise_the_floor_of_the_others() -> None:
    features = [one * torch.tensor([1, 1, 1, 1, 1, 1e6])[:, None, None] for one in maps()]
    found = feature_statistics(features)
    np.testing.assert_allclose(found.std, places(features).std(0), rtol=1e-12)


def test_a_dead_channel_gets_a_floor_and_not_zero() -> None:
    features = [one.clone() for one in maps()]
    for one in features:
        one[:, 2] = 3.0
    found = feature_statistics(features, 6)
    alive = np.delete(places(features).std(0), 2)
    usual = np.sort(alive)[2]
    assert found.std[2].item() == pytest.approx(MIN_DEVIATION * usual)
    assert found.component_std is not None
    assert found.component_std[-1].item() == pytest.approx(MIN_DEVIATION)


def test_what_gives_no_statistics_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="no features"):
        feature_statistics([])
    with pytest.raises(InvalidRequest, match="the same everywhere"):
        feature_statistics([torch.ones(1, 3, 2, 2)])
    broken = torch.randn(1, 3, 2, 2)
    broken[0, 1, 0, 0] = torch.nan
    with pytest.raises(InvalidRequest, match="not finite"):
        feature_statistics([torch.randn(1, 3, 2, 2), broken])
