"""Two encoder levels in one tensor: where values lie, bit for bit back, what is refused."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.decoders.feature_pack import FeaturePack

CHANNELS = (8, 32)  # -> 2 + 2 on the grid of 1/8


def levels(size: tuple[int, int], *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Maps of an image (height, width), whose grids are rounded up as an encoder does it."""
    generator = torch.Generator().manual_seed(seed)
    grids = ([-(-side // step) for side in size] for step in (16, 32))
    e2, e3 = (
        torch.randn(2, c, *grid, generator=generator)
        for c, grid in zip(CHANNELS, grids, strict=True)
    )
    return e2, e3


@pytest.mark.parametrize("size", [(64, 96), (112, 192), (96, 112), (33, 1), (370, 1226)])
def test_comes_back_bit_for_bit_from_any_image(size: tuple[int, int]) -> None:
    pack, (e2, e3) = FeaturePack(CHANNELS, one_grid=False), levels(size)
    packed = pack(e2, e3)
    grid = tuple(max(2 * e2.shape[side], 4 * e3.shape[side]) for side in (2, 3))
    assert packed.shape == (2, pack.channels, *grid) and pack.channels == 4
    back = pack.unpack(packed, (e2, e3))
    assert torch.equal(back[0], e2) and torch.equal(back[1], e3)


def test_only_moves_values_and_fills_up_with_zeros() -> None:
    e2, e3 = levels((112, 192))  # 7 x 12 and 4 x 6: 14 x 24 and 16 x 24
    packed = FeaturePack(CHANNELS, one_grid=False)(e2, e3)
    values = torch.cat((e2.flatten(), e3.flatten())).sort().values
    assert torch.equal(packed[packed != 0].sort().values, values)
    assert not packed[:, :2, 14:].any() and packed[:, 2:].all()


def test_channels_become_places_as_in_the_formula_of_the_pixel_shuffle() -> None:
    e2, e3 = levels((64, 96))
    packed = FeaturePack(CHANNELS, one_grid=False)(e2, e3).numpy()
    for e, first, s in ((e2.numpy(), 0, 2), (e3.numpy(), 2, 4)):
        expected = np.empty((2, e.shape[1] // s**2, e.shape[2] * s, e.shape[3] * s), np.float32)
        for c, i, j in product(range(expected.shape[1]), range(s), range(s)):
            expected[:, c, i::s, j::s] = e[:, c * s**2 + i * s + j]
        np.testing.assert_array_equal(packed[:, first : first + expected.shape[1]], expected)


def test_changes_in_the_filling_do_not_come_back() -> None:
    pack, (e2, e3) = FeaturePack(CHANNELS, one_grid=False), levels((112, 192))
    packed = pack(e2, e3)
    changed = packed + 1
    back = pack.unpack(changed, (e2, e3))
    assert torch.equal(back[0], e2 + 1) and torch.equal(back[1], e3 + 1)


def test_one_grid_is_a_concatenation() -> None:
    pack = FeaturePack((5, 7), one_grid=True)
    e2, e3 = torch.randn(2, 5, 3, 4), torch.randn(2, 7, 3, 4)
    packed = pack(e2, e3)
    assert pack.channels == 12 and torch.equal(packed, torch.cat((e2, e3), dim=1))
    back = pack.unpack(packed, (e2, e3))
    assert torch.equal(back[0], e2) and torch.equal(back[1], e3)


@pytest.mark.parametrize(("channels", "message"), [((6, 32), "level 2"), ((8, 24), "level 3")])
def test_channels_that_do_not_divide_are_refused(channels: tuple[int, int], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        FeaturePack(channels, one_grid=False)
    assert FeaturePack(channels, one_grid=True).channels == sum(channels)


def test_other_maps_are_refused() -> None:
    pack, (e2, e3) = FeaturePack(CHANNELS, one_grid=False), levels((64, 96))
    with pytest.raises(InvalidRequest, match=r"C = \(8, 32\)"):
        pack(e3, e2)
    with pytest.raises(InvalidRequest, match=r"expected \(2, 4, 8, 12\)"):
        pack.unpack(pack(e2, e3)[:, :, :-1], (e2, e3))
    with pytest.raises(InvalidRequest, match="one_grid=False"):
        FeaturePack(CHANNELS, one_grid=True)(e2, e3)
