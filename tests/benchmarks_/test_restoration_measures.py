"""Measures of the restoration study: halves, wrong views, and stereo matching with known truth."""

import numpy as np
import pytest
import torch

from nightrain.benchmarks.feature_potential import CELL_PX, fitted_half, moved
from nightrain.benchmarks.held_out_frames import elsewhere
from nightrain.benchmarks.stereo_baselines import sgbm_depth_m
from nightrain.datasets.errors import InvalidRequest
from support.tiny_depth_models import tiny_model


def test_the_descent_sees_no_depth_of_the_scored_half() -> None:
    """Other depths in the half that is scored change nothing; in the half that is fitted, they do.

    Halves are of equal area, and each is made of whole squares.
    """
    model = tiny_model(seed=1, input_size=(64, 64)).requires_grad_(False)
    half = fitted_half(64, 64)
    assert half.float().mean() == 0.5 and half[:CELL_PX, :CELL_PX].all()
    batch = {"image": torch.rand(2, 3, 64, 64), "exact_depth_m": torch.full((2, 64, 64), 20.0)}
    found, _ = moved(model, batch, (1,), steps=3, lr=0.1)
    for changed, same in ((~half, True), (half, False)):
        truth_m = torch.where(changed, 5.0, batch["exact_depth_m"])
        other, _ = moved(model, batch | {"exact_depth_m": truth_m}, (1,), steps=3, lr=0.1)
        assert torch.equal(found, other) == same


@pytest.mark.parametrize(
    "places", [list("aaabbb"), list("ab"), list("aab"), list("aaaaabc"), list("abcabc")]
)
def test_a_wrong_view_is_one_of_another_place(places: list[str]) -> None:
    partners = elsewhere(places)
    assert all(places[i] != places[j] for i, j in enumerate(partners))


def test_one_place_alone_has_no_wrong_view() -> None:
    with pytest.raises(InvalidRequest, match=r"found frames of 1 place\(s\), expected at least 2"):
        elsewhere(["a", "a"])


@pytest.mark.parametrize("partner_to_left", [False, True])
def test_sgbm_finds_the_depth_of_a_shifted_texture(partner_to_left: bool) -> None:
    """Two fronto-parallel halves, 6 and 12 pixels apart: f B = 120 px m gives 20 m and 10 m."""
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 255, (96, 260, 3), np.uint8)
    image, partner = texture[:, 30:222], np.empty((96, 192, 3), np.uint8)
    for rows, shift_px in ((slice(0, 48), 6), (slice(48, 96), 12)):
        begin = 30 + (-shift_px if partner_to_left else shift_px)
        partner[rows] = texture[rows, begin : begin + 192]
    depth_m = sgbm_depth_m(image, partner, 120.0, partner_to_left=partner_to_left)
    inner = depth_m[8:40, 50:140], depth_m[56:88, 50:140]
    for found, expected in zip(inner, (20.0, 10.0), strict=True):
        assert (found > 0).mean() > 0.9
        assert np.median(found[found > 0]) == pytest.approx(expected, rel=0.02)
