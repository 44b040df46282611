"""The restoration's UNet: silent before training, of any size, told the step, and light."""

import pytest
import torch

from nightrain.depthmodel.config import RestorationConfig
from nightrain.depthmodel.restoration.unet import Attention, RestorationUNet

SMALL = RestorationConfig(base_channels=8, multipliers=(1, 2, 2), num_blocks=1)


def stirred(channels: int, config: RestorationConfig) -> RestorationUNet:
    """A network whose last convolution is not zero."""
    torch.manual_seed(0)
    unet = RestorationUNet(channels, config)
    torch.nn.init.normal_(unet.residual.weight, std=0.1)
    return unet


def test_untrained_it_returns_exactly_nothing() -> None:
    unet = RestorationUNet(5, SMALL)
    x = 1e3 * torch.randn(2, 5, 6, 9)
    assert torch.equal(unet(x, x, torch.tensor([1, 4])), torch.zeros_like(x))


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (11, 35), (14, 24), (8, 8)])
@pytest.mark.parametrize("multipliers", [(1,), (1, 2), (1, 1, 2, 3)])
def test_takes_any_size_and_number_of_resolutions(
    size: tuple[int, int], multipliers: tuple[int, ...]
) -> None:
    unet = stirred(5, SMALL.model_copy(update={"multipliers": multipliers}))
    x = torch.randn(1, 5, *size)
    out = unet(x, x, torch.tensor([2]))
    assert out.shape == x.shape and torch.isfinite(out).all() and out.any()


def test_the_last_row_and_column_of_an_odd_size_matter_and_are_restored() -> None:
    unet, x = stirred(3, SMALL), torch.randn(1, 3, 11, 13)
    step = torch.tensor([1])
    corner = x.clone()
    corner[:, :, -1, -1] += 1
    assert (unet(corner, x, step) - unet(x, x, step))[:, :, -1, -1].abs().min() > 0


def test_all_three_inputs_matter() -> None:
    unet = stirred(3, SMALL)
    x, f, step = torch.randn(1, 3, 6, 6), torch.randn(1, 3, 6, 6), torch.tensor([1])
    out = unet(x, f, step)
    for other in (unet(x + 1, f, step), unet(x, f + 1, step), unet(x, f, torch.tensor([2]))):
        assert (other - out).abs().max() > 1e-4


def test_a_batch_is_its_samples_at_their_own_steps() -> None:
    unet = stirred(3, SMALL).double()
    x, f = torch.randn(2, 2, 3, 6, 7, dtype=torch.float64)
    step = torch.tensor([4, 1])
    alone = torch.cat([unet(x[i : i + 1], f[i : i + 1], step[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(unet(x, f, step), alone)


def test_everything_learns_once_the_last_convolution_moved() -> None:
    unet = stirred(3, RestorationConfig(base_channels=8))
    x = torch.randn(2, 3, 9, 10)
    unet(x, x, torch.tensor([1, 2])).square().sum().backward()
    silent = [n for n, p in unet.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent


def test_only_the_two_lowest_resolutions_have_attention() -> None:
    unet = stirred(3, RestorationConfig(base_channels=8, num_blocks=1))
    has = [hasattr(stage.attention, "project") for stage in (*unet.down, unet.middle)]
    assert has == [False, False, True, True]


def test_attention_is_softmax_of_scaled_products() -> None:
    torch.manual_seed(0)
    attention = Attention(48).double()  # three heads of 16
    assert attention.num_heads == 3
    x = torch.randn(1, 48, 3, 4, dtype=torch.float64)
    heads = attention.query_key_value(attention.norm(x)).reshape(3, 3, 16, 12)  # qkv, head, c, n
    query, key, value = heads
    weights = torch.softmax(query.mT @ key / 4, dim=2)  # (3, 12, 12)
    y = (value @ weights.mT).reshape(1, 48, 3, 4)
    torch.testing.assert_close(attention(x), x + attention.project(y))


def test_small_one_is_small() -> None:
    unet = RestorationUNet(48, RestorationConfig(base_channels=16, num_blocks=1))
    assert sum(p.numel() for p in unet.parameters()) < 350_000
