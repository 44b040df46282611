"""Bins: centres that increase inside the range, an expectation that stays inside it."""

import numpy as np
import pytest
import torch

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.decoders.bins import (
    MIN_SHARE,
    BinCentres,
    expected_depth,
    logits_expecting,
)

RANGES = [(0.1, 80.0), (0.001, 1000.0), (5.0, 5.5)]


def make_bins(num_bins: int = 32, range_m: tuple[float, float] = RANGES[0]) -> BinCentres:
    torch.manual_seed(0)
    return BinCentres(6, num_bins, *range_m)


@pytest.mark.parametrize("range_m", RANGES)
@pytest.mark.parametrize("num_bins", [2, 256, 1024])
@pytest.mark.parametrize("scale", [1.0, 1e4])  # at 1e4 nearly all of the range is one bin
@torch.no_grad()
def test_centres_increase_inside_the_range(
    range_m: tuple[float, float], num_bins: int, scale: float
) -> None:
    centres_m = make_bins(num_bins, range_m)(scale * torch.randn(8, 6, 3, 4))
    assert centres_m.shape == (8, num_bins) and centres_m.dtype == torch.float32
    assert bool((centres_m.diff(dim=1) > 0).all())
    assert centres_m.min() >= range_m[0] and centres_m.max() <= range_m[1]


@torch.no_grad()
def test_centres_are_the_formula() -> None:
    """Widths from a softmax, their running sum, minus half a width; in numpy."""
    bins, x = make_bins(), torch.randn(2, 6, 3, 4)
    hidden = torch.nn.functional.gelu(bins.hidden(x.mean(dim=(2, 3))))
    logits = bins.share(hidden).double().numpy()
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    widths = 79.9 * ((1 - MIN_SHARE) * shares + MIN_SHARE / 32)
    np.testing.assert_allclose(widths.sum(axis=1), 79.9)
    expected = np.stack([0.1 + widths[:, :k].sum(1) + widths[:, k] / 2 for k in range(32)], axis=1)
    np.testing.assert_allclose(bins(x).numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("range_m", RANGES)
@pytest.mark.parametrize("scale", [1.0, 1e3])
@torch.no_grad()
def test_the_expectation_is_inside_the_range(range_m: tuple[float, float], scale: float) -> None:
    centres_m = make_bins(64, range_m)(1e3 * torch.randn(4, 6, 3, 4))
    logits = scale * torch.randn(4, 64, 5, 7)
    depth_m = expected_depth(logits, centres_m)
    assert depth_m.shape == (4, 1, 5, 7)
    assert depth_m.min() >= range_m[0] and depth_m.max() <= range_m[1]
    shares = np.exp(logits.double().numpy() - logits.numpy().max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    expected = (shares * centres_m.double().numpy()[:, :, None, None]).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(depth_m.numpy(), expected, rtol=1e-5)


def test_a_sure_pixel_has_the_depth_of_its_bin() -> None:
    centres_m = torch.tensor([[1.0, 2.0, 7.0], [3.0, 4.0, 5.0]])
    logits = torch.full((2, 3, 1, 2), -200.0)
    logits[:, 2, 0, 0] = logits[:, 0, 0, 1] = 200.0
    found = expected_depth(logits, centres_m)
    assert found.flatten(1).tolist() == [[7.0, 1.0], [5.0, 3.0]]
    assert expected_depth(logits.bfloat16(), centres_m).dtype == torch.float32


@torch.no_grad()
def test_the_start_is_even_in_log_depth() -> None:
    bins = make_bins(256)
    start = bins.start_even_in_log_depth()
    edges = np.geomspace(0.1, 80.0, 257)
    np.testing.assert_allclose(start.numpy(), (edges[1:] + edges[:-1]) / 2, rtol=2e-3)
    found = bins(torch.randn(3, 6, 4, 4))  # and an untrained network stays near it
    np.testing.assert_allclose(found.numpy(), start[None].expand(3, -1).numpy(), rtol=0.2)


@pytest.mark.parametrize("depth_m", [0.5, 10.0, 60.0])
def test_logits_of_a_wanted_depth(depth_m: float) -> None:
    centres_m = make_bins(256).start_even_in_log_depth()
    logits = logits_expecting(depth_m, centres_m).double().numpy()
    shares = np.exp(logits - logits.max())
    mean_m = (shares * centres_m.double().numpy()).sum() / shares.sum()
    assert mean_m == pytest.approx(depth_m, rel=1e-4)


def test_wrong_depths_are_refused() -> None:
    for range_m in ((0.0, 80.0), (5.0, 5.0), (1.0, float("inf")), (float("nan"), 80.0)):
        with pytest.raises(InvalidRequest, match="expected 0 < min < max"):
            BinCentres(6, 8, *range_m)
    with pytest.raises(InvalidRequest, match="found 90 m, expected one between"):
        logits_expecting(90, torch.linspace(1, 80, 9))


def test_gradients_reach_every_weight() -> None:
    bins, x = make_bins(), torch.randn(2, 6, 3, 4, requires_grad=True)
    expected_depth(torch.randn(2, 32, 4, 4), bins(x)).sum().backward()
    for leaf in (x, *bins.parameters()):
        assert leaf.grad is not None and bool(leaf.grad.isfinite().all()) and bool(leaf.grad.any())
