"""Windows that were moved by known displacements are found again."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nightrain.depthmodel.auxview.matching import Descriptor, Match
from nightrain.depthmodel.auxview.search import WindowSearch, displacements, square
from nightrain.depthmodel.config import AuxViewConfig

FINE, COARSE, CHANNELS = (24, 32), (12, 16), 8


def texture(seed: int, size: tuple[int, int] = FINE) -> Tensor:
    """Rough at cells of the fine grid and still there on the coarse one."""
    x = torch.randn(1, CHANNELS, *size, generator=torch.Generator().manual_seed(seed))
    return F.avg_pool2d(x, 3, 1, 1)


def searched(target: Tensor, other: Tensor, **settings: int) -> Match:
    torch.manual_seed(0)
    config = AuxViewConfig(alignment="search", window_cells=4, search_radius_cells=4, **settings)
    describe = Descriptor(CHANNELS, CHANNELS)
    with torch.no_grad():
        return WindowSearch(config)(describe(target), describe(other), COARSE)


@pytest.mark.parametrize(("x", "y"), [(0, 0), (4, -2), (-6, 2), (5, 3), (-1, 1)])
def test_a_displacement_is_found(x: int, y: int) -> None:
    target = texture(1)
    match = searched(target, target.roll((y, x), (2, 3)))
    inner = match.shift[..., 8:-8, 8:-8]
    off = (inner - torch.tensor([x, y]).view(1, 2, 1, 1)).abs()
    assert off.median() < 0.06 and off.quantile(0.95) < 0.3
    assert match.validity[..., 8:-8, 8:-8].mean() > 0.7 and match.inverse_depth is None


def test_two_windows_go_their_own_ways() -> None:
    left, right = texture(2)[..., :16], texture(3)[..., 16:]
    target = torch.cat([left, right], 3)
    other = torch.cat([left.roll(4, 2), right.roll(-4, 2)], 3)
    down = searched(target, other).shift[0, 1]
    assert (down[8:-8, 2:13] - 4).abs().median() < 0.1
    assert (down[8:-8, -13:-2] + 4).abs().median() < 0.1


def test_another_scene_is_hardly_valid() -> None:
    target = texture(4)
    right, wrong = searched(target, target.roll(2, 3)), searched(target, texture(5))
    assert wrong.validity.mean() < 0.3 < 0.6 < right.validity[..., 8:-8].mean()


def test_displacements_are_those_of_loops() -> None:
    target, other = (F.normalize(texture(s, (9, 10)), dim=1) for s in (6, 7))
    found = displacements(target, other, 4, 2).numpy()
    a, b = target[0].numpy(), np.pad(other[0].numpy(), ((0, 0), (2, 2), (2, 2)))
    for top in range(0, 9, 4):
        for left in range(0, 10, 4):
            window = a[:, top : top + 4, left : left + 4]
            height, width = window.shape[1:]
            score = {
                (dx, dy): (window * b[:, top + 2 + dy :, left + 2 + dx :][:, :height, :width]).sum()
                for dx in range(-2, 3)
                for dy in range(-2, 3)
            }
            best = max(score, key=lambda d: (round(float(score[d]), 5), -(d[0] ** 2) - d[1] ** 2))
            tile = found[0, :, top : top + 4, left : left + 4]
            assert (tile == np.array(best).reshape(2, 1, 1)).all()


def test_among_equals_the_nearest_wins() -> None:
    assert not displacements(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8), 4, 3).any()


def test_the_square_goes_row_by_row() -> None:
    expected = [(x, y) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    assert [tuple(e) for e in square(1, torch.zeros(1)).int().tolist()] == expected
