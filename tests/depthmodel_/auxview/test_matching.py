"""Descriptors, the peak of candidates, its certainty, and a match on another grid."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nightrain.depthmodel.auxview.matching import (
    UNLIKE,
    BestCandidate,
    Descriptor,
    Match,
    cells,
    in_frame,
    local_mean,
    on_grid,
    peak,
    sample,
    vertex,
)

SHARP = torch.tensor(0.05).log()


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cosines_of(curve: Tensor) -> Tensor:
    """One cell's cosines (D,) as a volume (1, D, 1, 1)."""
    return curve.view(1, -1, 1, 1)


@pytest.mark.parametrize("at", [3.0, 5.25, 6.5, 7.49])
def test_a_quadratic_peak_is_found_between_candidates(at: float) -> None:
    curve = 0.9 - 0.03 * (torch.arange(11.0) - at).square()
    assert peak(cosines_of(curve), SHARP).place.item() == pytest.approx(at, abs=1e-4)


def test_a_peak_at_the_end_is_the_end() -> None:
    for curve in (torch.linspace(0, 0.9, 7), torch.linspace(0.9, 0, 7)):
        assert peak(cosines_of(curve), SHARP).place.item() == curve.argmax().item()


def test_no_vertex_is_farther_than_half_a_candidate() -> None:
    three = noise(0, 4, 3, 5, 5)
    three[:, 1] = three.amax(1)  # the middle one is the best
    assert vertex(three).abs().max() <= 0.5
    assert vertex(torch.zeros(1, 3, 1, 1)).item() == 0  # flat


def test_certainty_is_of_one_that_is_like_and_alone() -> None:
    alone, other, flat = torch.zeros(9), torch.zeros(9), torch.full((9,), 0.95)
    alone[4] = other[4] = other[8] = 0.95
    sure, doubtful, none = (
        peak(cosines_of(c), SHARP).certainty.item() for c in (alone, other, flat)
    )
    assert sure > 0.95 and 0 < doubtful < 0.5 * sure and none == pytest.approx(0, abs=1e-6)
    faint = peak(cosines_of(alone * (UNLIKE - 0.3)), SHARP).certainty.item()
    assert faint < 0.1


def test_correction_starts_at_nothing_and_moves_by_one_candidate_at_most() -> None:
    cosines, target = torch.tanh(noise(1, 2, 9, 4, 5)), noise(2, 2, 6, 4, 5)
    best = BestCandidate(6, 8)
    plain = peak(cosines, best.log_temperature)
    assert torch.equal(best(cosines, target).place, plain.place)
    assert torch.equal(best(cosines, target).certainty, plain.certainty)
    torch.nn.init.normal_(best.change.weight, std=50)
    moved = (best(cosines, target).place - plain.place).abs()
    assert 0.9 < moved.max() <= 1 + 1e-5


def test_descriptors_are_unit_vectors_and_do_not_see_exposure() -> None:
    describe, x = Descriptor(6, 5), noise(3, 2, 6, 9, 8)
    found = describe(x)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2, 9, 8))
    torch.testing.assert_close(describe(3 * x + 0.7), found, atol=1e-4, rtol=0)


def test_descriptors_do_not_see_where_in_the_image_they_are() -> None:
    """A slope over the image, as of features that know their place, changes little of texture."""
    describe, x = Descriptor(4, 4), noise(4, 1, 4, 20, 20)
    slope = torch.linspace(-3, 3, 20).expand(20, 20)
    likeness = (describe(x) * describe(x + slope)).sum(1)[..., 3:-3, 3:-3]
    assert likeness.mean() > 0.95


@pytest.mark.parametrize(("pixels", "part"), [(4, 0.25), (4, 0.5), (2, 0.5)])
def test_part_of_a_cell_to_the_right_is_exact_in_pixels(pixels: int, part: float) -> None:
    describe, picture = Descriptor(3, 7, pixels), noise(5, 1, 3, 24, 40)
    moved = picture.roll(-round(part * pixels), 3)
    inner = slice(4, 40 // pixels - 4)
    torch.testing.assert_close(
        describe(picture, part)[..., inner], describe(moved)[..., inner], atol=1e-4, rtol=0
    )


def test_where_nothing_differs_there_is_no_descriptor() -> None:
    assert Descriptor(3, 4)(torch.full((1, 3, 6, 6), 0.3)).abs().max() < 1e-6


@pytest.mark.parametrize("side", [3, 5])
def test_local_means_are_those_of_pooling(side: int) -> None:
    x = noise(6, 2, 3, 7, 9)
    expected = F.avg_pool2d(x, side, 1, side // 2, count_include_pad=False)
    torch.testing.assert_close(local_mean(x, side), expected)


def test_sampling_is_at_cell_centres_and_zero_outside() -> None:
    x = noise(7, 1, 2, 5, 6)
    here = cells(5, 6, x)[None]
    torch.testing.assert_close(sample(x, here), x)
    moved = sample(x, here + torch.tensor([1.5, 1.0]).view(1, 2, 1, 1))
    expected = (x[0, :, 3, 2] + x[0, :, 3, 3]) / 2
    torch.testing.assert_close(moved[0, :, 2, 1], expected)
    assert not moved[..., -1].any() and not moved[..., -1, :].any()


def test_in_frame_is_half_a_cell_beyond_the_outermost() -> None:
    shift = torch.zeros(1, 2, 4, 6)
    shift[:, 0] = -2.4
    assert in_frame(shift)[0, 0, 0].tolist() == [False, False, True, True, True, True]
    shift[:, 1] = 1.6
    assert in_frame(shift)[0, 0, :, 5].tolist() == [True, True, False, False]


def test_on_a_coarser_grid_shifts_scale_and_doubtful_cells_count_less() -> None:
    shift, validity = torch.zeros(1, 2, 4, 6), torch.ones(1, 1, 4, 6)
    shift[:, 0], shift[:, 1] = -3.0, 1.0
    inverse_depth = torch.full((1, 1, 4, 6), 0.2)
    shift[..., 0, 0], validity[..., 0, 0], inverse_depth[..., 0, 0] = 50.0, 0.0, 9.0
    match = Match(shift, validity, inverse_depth)
    coarse = on_grid(match, (2, 3))
    np.testing.assert_allclose(coarse.shift[0, 0], np.full((2, 3), -1.5), rtol=1e-5)
    np.testing.assert_allclose(coarse.shift[0, 1], np.full((2, 3), 0.5), rtol=1e-5)
    assert coarse.inverse_depth is not None
    np.testing.assert_allclose(coarse.inverse_depth, np.full((1, 1, 2, 3), 0.2), rtol=1e-5)
    assert coarse.validity[0, 0, 0, 0] == 0.75 and coarse.validity[0, 0, 1, 1] == 1
    assert on_grid(match, (4, 6)) is match
