"""Disparities of textures that were shifted by known ones, to either side."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.auxview.matching import Descriptor, Match
from nightrain.depthmodel.auxview.stereo import RectifiedMatching, check_rectified, correlation
from nightrain.depthmodel.config import AuxViewConfig

H, W, CHANNELS, STRIDE = 12, 40, 8, 4
FOCAL_PX, BASELINE_M = 144.0, 0.54
K = torch.tensor([[FOCAL_PX, 0.0, 80.0], [0.0, FOCAL_PX, 24.0], [0.0, 0.0, 1.0]])[None]


def texture(seed: int, batch: int = 1, width: int = W) -> Tensor:
    return torch.randn(batch, CHANNELS, H, width, generator=torch.Generator().manual_seed(seed))


def to_side(metres: float) -> Tensor:
    T = torch.eye(4)[None].clone()
    T[:, 0, 3] = metres
    return T


RIGHT, LEFT = to_side(-BASELINE_M), to_side(BASELINE_M)


def matched(target: Tensor, other: Tensor, T: Tensor, **settings: float) -> Match:
    torch.manual_seed(0)
    config = AuxViewConfig.model_validate({"max_disparity_px": 32, **settings})
    describe = Descriptor(CHANNELS, config.descriptor_channels)
    batch = target.shape[0]
    with torch.no_grad():
        return RectifiedMatching(config)(
            describe, (target, other), K.expand(batch, 3, 3), T, STRIDE * W
        )


def seen_from(texture_: Tensor, cells: int) -> Tensor:
    """What a partner to the right sees of a plane: all lies `cells` farther left."""
    return torch.cat([texture_[..., cells:], texture(99, width=cells)], -1) if cells else texture_


@pytest.mark.parametrize("cells", [0, 1, 3, 7])
def test_a_shifted_texture_gives_the_disparity(cells: int) -> None:
    target = texture(1)
    match = matched(target, seen_from(target, cells), RIGHT)
    inner = (..., slice(None), slice(cells + 3, W - 3))
    off = (match.shift[:, 0][inner] + cells).abs()
    assert off.median() < 0.05 and off.max() < 0.2  # the texture is rough: its peak is no parabola
    assert match.validity[inner].min() > 0.9
    assert match.inverse_depth is not None and not match.shift[:, 1].any()
    expected = cells * STRIDE / (FOCAL_PX * BASELINE_M)
    found = match.inverse_depth[inner].median()
    assert found.item() == pytest.approx(expected, abs=0.05 * STRIDE / (FOCAL_PX * BASELINE_M))


def test_a_partner_to_the_left_is_the_mirror_of_one_to_the_right() -> None:
    target, far = texture(2), texture(3)
    other, far_other = seen_from(target, 3), seen_from(far, 1)
    right = matched(target, other, RIGHT)
    both = matched(
        torch.cat([target.flip(3), far]),
        torch.cat([other.flip(3), far_other]),
        torch.cat([LEFT, RIGHT]),
    )
    torch.testing.assert_close(both.shift[:1, :1], -right.shift[:, :1].flip(3))
    torch.testing.assert_close(both.validity[:1], right.validity.flip(3))
    assert right.inverse_depth is not None and both.inverse_depth is not None
    torch.testing.assert_close(both.inverse_depth[:1], right.inverse_depth.flip(3))
    assert (both.shift[1, 0, :, 4:-3] + 1).abs().max() < 0.2


@pytest.mark.parametrize("disparity", [0.25, 0.5, 1.3, 2.7])
def test_disparities_within_a_cell(disparity: float) -> None:
    """A smooth texture, sampled at part cells."""
    rows = texture(4, width=20 * W).flatten(1, 2)
    for _ in range(3):  # so that the cosine about its peak is nearly quadratic
        rows = F.avg_pool1d(rows, 15, 1, 7)
    fine = rows.unflatten(1, (CHANNELS, H))
    step = 10
    target = fine[..., ::step][..., 8 : 8 + W]
    other = fine[..., round(disparity * step) :: step][..., 8 : 8 + W]
    match = matched(target, other, RIGHT, steps_per_cell=2)
    off = (match.shift[0, 0, :, 6:-6] + disparity).abs()
    assert off.median() < 0.1 and off.quantile(0.9) < 0.2


def test_two_planes_keep_their_disparities() -> None:
    """Six cells nearer in the lower half of the image."""
    target = texture(5)
    other = torch.cat([seen_from(target, 1)[:, :, :6], seen_from(target, 6)[:, :, 6:]], 2)
    found = matched(target, other, RIGHT).shift[0, 0]
    assert (found[:4, 9:-3] + 1).abs().max() < 0.2 and (found[8:, 9:-3] + 6).abs().max() < 0.2


def test_what_the_other_does_not_show_is_not_valid() -> None:
    """The left strip of the target lies beyond the other's border, or is another thing there."""
    target = texture(6)
    validity = matched(target, seen_from(target, 6), RIGHT).validity[0, 0]
    assert validity[:, :5].mean() < 0.2 and validity[:, 9:-3].min() > 0.9


def test_another_scene_is_hardly_valid_and_no_texture_never() -> None:
    target = texture(7)
    right_one = matched(target, seen_from(target, 2), RIGHT).validity[..., 5:-3].mean()
    wrong_one = matched(target, texture(8), RIGHT).validity.mean()
    assert wrong_one < 0.1 < 0.9 < right_one
    assert matched(torch.ones_like(target), torch.ones_like(target), RIGHT).validity.max() < 1e-3


def test_the_check_of_both_images_rejects_what_one_alone_would_believe() -> None:
    """A strip that the other shows twice: two places of the target find the same one."""
    target = texture(9)
    target[..., 20:26] = target[..., 16:22].clone()  # both are like the other's 14..19
    other = seen_from(target, 2)
    other[..., 18:24] = texture(10, width=6)  # where the second would be found
    validity = matched(target, other, RIGHT).validity[0, 0]
    assert validity[:, 12:19].mean() > 0.8 and validity[:, 22:25].mean() < 0.3


def test_correlation_is_that_of_loops() -> None:
    target, other = (F.normalize(texture(s, batch=2), dim=1) for s in (11, 12))
    half = F.normalize(texture(13, batch=2), dim=1)
    found = correlation(target, [other, half], 3).numpy()
    candidates = np.arange(-1, 3.5, 0.5)
    assert found.shape == (2, len(candidates), H, W)
    for (k, d), u in itertools.product(enumerate(candidates), range(W)):
        at = int(np.floor(u - d))
        phase = other if (u - d) % 1 == 0 else half
        inside = 0 <= at < W
        expected = (target[..., u] * phase[..., at]).sum(1) if inside else torch.zeros(2, H)
        np.testing.assert_allclose(found[:, k, :, u], expected.numpy(), atol=1e-5)


def test_a_pair_that_is_not_rectified_is_refused() -> None:
    turned, ahead = RIGHT.clone(), to_side(-BASELINE_M)
    turned[0, 0, 2], turned[0, 2, 0] = 0.1, -0.1
    ahead[0, 2, 3] = 0.3
    other_lens = K.clone()
    other_lens[0, 0, 2] += 5
    check_rectified(K, K, RIGHT)
    check_rectified(K, K, LEFT)
    for K_aux, T in ((K, turned), (K, ahead), (K, to_side(0.0)), (other_lens, RIGHT)):
        with pytest.raises(InvalidRequest, match="expected rectified pairs"):
            check_rectified(K, K_aux, T)
