"""Couplings of two streams: the exact inverse, both ways round; the identity at the start."""

import numpy as np
import pytest
import torch
from torch import Tensor

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.decoders.invertible import (
    InvertibleStages,
    Streams,
    TwoStreamCoupling,
    fit_grid,
)

WIDTH, LOW = 8, (6, 10)  # the projections are not the identity
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


def randomised(stages: InvertibleStages, std: float = 0.1) -> InvertibleStages:
    """Weights of which no half step is the identity."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in stages.parameters():
            weight.normal_(std=std)
    return stages


@torch.enable_grad()
def slightly_trained(stages: InvertibleStages) -> InvertibleStages:
    """Ten steps towards a random target: scales and shifts that a training gives."""
    y, low = inputs(torch.float32)
    target = torch.randn(2, WIDTH, 12, 20)
    optimiser = torch.optim.AdamW(stages.parameters(), lr=1e-2)
    for _ in range(10):
        optimiser.zero_grad()
        (stages(y, low) - target).square().mean().backward()
        optimiser.step()
    return stages


def make_stages(trained: bool) -> InvertibleStages:
    torch.manual_seed(0)
    stages = InvertibleStages(LOW, WIDTH)
    return slightly_trained(stages) if trained else randomised(stages)


def inputs(dtype: torch.dtype, scale: float = 1.0) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(2)
    sizes = [(WIDTH, 6, 10), (LOW[0], 12, 20), (LOW[1], 6, 10)]
    y, e0, e1 = (scale * torch.randn(2, *size, generator=draw, dtype=dtype) for size in sizes)
    return y, (e0, e1)


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("scale", [1.0, 10.0])
@torch.no_grad()
def test_the_inverse_is_exact(dtype: torch.dtype, trained: bool, scale: float) -> None:
    stages = make_stages(trained).to(dtype)
    y, low = inputs(dtype, scale)
    out = stages(y, low)
    assert relative_error(out, InvertibleStages(LOW, WIDTH).to(dtype)(y, low)) > 0.01  # it works
    found = stages.inverse(out, low)
    expected = Streams(y, stages.project1(low[1]), stages.project0(low[0]))
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == dtype and relative_error(one, other) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("scale", [1.0, 10.0])
@torch.no_grad()
def test_and_so_is_the_way_back(dtype: torch.dtype, trained: bool, scale: float) -> None:
    """Any map is the image of some streams: the stages are onto."""
    stages = make_stages(trained).to(dtype)
    out = scale * torch.randn(2, WIDTH, 12, 20, dtype=dtype)
    streams = stages.inverse(out)
    assert sum(s.numel() for s in streams) == out.numel()
    assert relative_error(stages.join(streams), out) < TOLERANCE[dtype]


@torch.no_grad()
def test_a_half_step_is_the_formula() -> None:
    """down * s(G(up)) + H(up) and then up with the new down, in numpy; s within its bounds."""
    torch.manual_seed(0)
    coupling = TwoStreamCoupling(4, scale_bound=0.3).double()
    for weight in coupling.parameters():
        weight.normal_(std=0.5)
    up, down = torch.randn(2, 1, 4, 5, 5, dtype=torch.float64)
    expected = {"up": up.numpy(), "down": down.numpy()}
    for source, target, half in (
        ("up", "down", coupling.from_up),
        ("down", "up", coupling.from_down),
    ):
        hidden = half.shared(torch.from_numpy(expected[source])).numpy()
        silu = torch.from_numpy(hidden / (1 + np.exp(-hidden)))
        gain, shift = np.split(half.gain_shift(silu).numpy(), 2, axis=1)
        scale = np.exp(0.3 * np.tanh(gain))
        assert np.exp(-0.3) <= scale.min() < 0.9 and 1.1 < scale.max() <= np.exp(0.3)
        expected[target] = scale * expected[target] + shift
    found = coupling(up, down)
    np.testing.assert_allclose(found[0], expected["up"], rtol=1e-12)
    np.testing.assert_allclose(found[1], expected["down"], rtol=1e-12)


@torch.no_grad()
def test_untrained_stages_only_put_the_streams_together() -> None:
    stages = InvertibleStages((4, WIDTH), WIDTH)  # widths that need no projection
    y, up1, up0 = torch.randn(2, 8, 3, 5), torch.randn(2, 8, 3, 5), torch.randn(2, 4, 6, 10)
    out = stages(y, (up0, up1)).numpy()
    assert not list(stages.project0.parameters()) + list(stages.project1.parameters())
    both = np.concatenate((up1, y), axis=1)  # (2, 16, 3, 5)
    finer = both.reshape(2, 4, 2, 2, 3, 5).transpose(0, 1, 4, 2, 5, 3).reshape(2, 4, 6, 10)
    assert np.array_equal(out, np.concatenate((up0, finer), axis=1))


@pytest.mark.parametrize(("num_pairs", "scale_bound"), [(1, 0.1), (3, 1.0)])
@torch.no_grad()
def test_pairs_and_bound_are_chosen(num_pairs: int, scale_bound: float) -> None:
    stages = randomised(
        InvertibleStages(LOW, WIDTH, num_pairs=num_pairs, scale_bound=scale_bound), 2.0
    )
    assert len(stages.stage_a) == len(stages.stage_b) == num_pairs
    for stage in (stages.stage_a, stages.stage_b):
        for coupling in stage:
            assert isinstance(coupling, TwoStreamCoupling)
            channels = coupling.from_up.shared.in_channels
            log_scale, _ = coupling.from_up(10 * torch.randn(1, channels, 9, 9))
            assert 0.9 * scale_bound < log_scale.abs().max() <= scale_bound


@pytest.mark.parametrize(
    ("y", "e1", "e0"), [((3, 5), (3, 5), (5, 10)), ((3, 5), (3, 6), (6, 10)), ((3, 5),) * 3]
)
def test_grids_that_do_not_fit_are_refused_or_padded(
    y: tuple[int, int], e1: tuple[int, int], e0: tuple[int, int]
) -> None:
    stages = randomised(InvertibleStages(LOW, WIDTH))
    maps = [torch.randn(1, c, *size) for c, size in zip((WIDTH, *LOW), (y, e0, e1), strict=True)]
    low = (maps[1], maps[2])
    with pytest.raises(
        InvalidRequest, match=rf"a grid of 3 x 5, e1 on {e1[0]} x {e1[1]} and e0 on"
    ):
        stages(maps[0], low)
    out = stages.on_any_grid(maps[0], low)
    assert out.shape == (1, WIDTH, *e0) and bool(out.isfinite().all())


@torch.no_grad()
def test_padding_is_zeros_and_a_crop_and_nothing_where_grids_fit() -> None:
    stages = make_stages(trained=False)
    y, low = inputs(torch.float32)
    assert torch.equal(stages.on_any_grid(y, low), stages(y, low))
    odd = (low[0][..., :11, :19], low[1])  # ceil(11 / 2) = 6, ceil(19 / 2) = 10
    low[0][..., 11:, :] = 0
    low[0][..., 19:] = 0
    assert torch.equal(stages.on_any_grid(y, odd), stages(y, low)[..., :11, :19])
    longer = fit_grid(torch.ones(1, 1, 2, 2), (3, 1))
    assert torch.equal(longer[0, 0], torch.tensor([[1.0], [1.0], [0.0]]))


def test_other_shapes_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="a width of 7, expected an even one: give 8"):
        InvertibleStages(LOW, 7)
    stages = InvertibleStages(LOW, WIDTH)
    for shape in ((1, WIDTH, 5, 6), (1, WIDTH, 6, 5), (1, WIDTH + 2, 6, 6)):
        with pytest.raises(InvalidRequest, match=r"expected \(B, 8, h, w\) with even h and w"):
            stages.inverse(torch.zeros(shape))


@torch.no_grad()
def test_autocast_does_not_touch_the_couplings() -> None:
    stages = make_stages(trained=False)
    y, low = inputs(torch.float32)
    expected = stages(y, low)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(stages(y, low), expected)
        assert relative_error(stages.inverse(expected).y, y) < 1e-5
        out = stages(y.bfloat16(), low)
    assert out.dtype == torch.float32


def test_gradients_of_one_pixel_reach_every_input_and_weight() -> None:
    stages = make_stages(trained=False)
    y, low = inputs(torch.float32)
    for leaf in (y, *low):
        leaf.requires_grad_()
    stages(y, low)[0, :, 6, 11].square().sum().backward()
    for leaf in (y, *low, *stages.parameters()):
        assert leaf.grad is not None and bool(leaf.grad.isfinite().all()) and bool(leaf.grad.any())
    assert not y.grad[1].any()  # type: ignore[index]  # no pixel of that image counted
