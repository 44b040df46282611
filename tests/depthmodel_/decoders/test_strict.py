"""A feature and its log depth are one to one, and how the pieces around that behave."""

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from nightrain.benchmarks.lipschitz import (
    Low,
    inverse_errors,
    random_decoder,
    random_inputs,
    train_a_little,
)
from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.decoder_config import StrictConfig
from nightrain.depthmodel.decoders.base import DepthRange, EncoderShape
from nightrain.depthmodel.decoders.strict import (
    StrictDecoder,
    haar_synthesis,
    inverse_projected_target,
)

SIZE = (32, 48)  # height, width
LOW_CHANNELS = (8, 16)


def fresh(patch: int | None = None, channels: int = 8, **fields: object) -> StrictDecoder:
    torch.manual_seed(0)
    if patch is None:
        shape = EncoderShape((*LOW_CHANNELS, 2 * channels, 8 * channels))
    else:
        shape = EncoderShape((*LOW_CHANNELS, channels // 2, channels // 2), patch)
    depths = DepthRange(0.1, 80.0, 10.0)
    return StrictDecoder(shape, depths, StrictConfig.model_validate(fields))


def inputs(
    batch: int = 2, scale: float = 1.0, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Low]:
    torch.manual_seed(1)
    z, (fine, coarse) = random_inputs(SIZE, batch, scale)
    return z.to(dtype), (fine.to(dtype), coarse.to(dtype))


@pytest.fixture(scope="module")
def trained() -> StrictDecoder:
    decoder = random_decoder(2)
    before = copy.deepcopy(decoder.state_dict())
    train_a_little(decoder, SIZE, num_steps=4)
    moved = [name for name, t in decoder.state_dict().items() if not torch.equal(t, before[name])]
    assert any("rotation" in name for name in moved) and any("leave" in name for name in moved)
    return decoder


@pytest.mark.parametrize("scale", [1.0, 10.0])
@pytest.mark.parametrize("kind", ["haar", "shuffle", "trained"])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)], ids=["fp32", "fp64"]
)
def test_inverse_in_both_directions(
    kind: str, scale: float, dtype: torch.dtype, tolerance: float, trained: StrictDecoder
) -> None:
    config = StrictConfig.model_validate({} if kind == "trained" else {"upsampling": kind})
    decoder = trained if kind == "trained" else random_decoder(3, config=config)
    z, low = inputs(scale=scale, dtype=dtype)
    errors = inverse_errors(copy.deepcopy(decoder).to(dtype), z, low)
    assert max(errors) < tolerance


def test_the_inverse_from_any_depth(trained: StrictDecoder) -> None:
    """Also of a u that no z was chosen for: the map is onto."""
    u, (_, low) = torch.randn(1, 1, *SIZE, dtype=torch.float64), inputs(1)
    again = trained.log_depth(trained.inverse(u, low), low)
    torch.testing.assert_close(again, u, rtol=0, atol=1e-12)


def test_other_low_level_features_give_another_depth() -> None:
    decoder, (z, low) = random_decoder(0), inputs(1)
    for level in range(2):
        other: list[Tensor] = list(low)
        other[level] = other[level] + 1
        assert (
            decoder.log_depth(z, (other[0], other[1])) - decoder.log_depth(z, low)
        ).abs().max() > 1e-3


def test_untrained_it_is_the_haar_transform_around_the_middle_depth() -> None:
    decoder, (z, low) = fresh(middle_depth_m=7.0, sigma=0.5).double(), inputs(1)
    wanted = z
    for _ in range(4):
        wanted = haar_synthesis(wanted)
    torch.testing.assert_close(
        decoder.log_depth(z, low), math.log(7) + 0.5 * wanted, rtol=0, atol=1e-12
    )


def test_untrained_features_give_about_the_middle_depth() -> None:
    decoder, (_, low) = fresh(middle_depth_m=7.0), inputs(1, dtype=torch.float32)
    z = decoder.project(torch.randn(1, 8, SIZE[0] // 8, SIZE[1] // 8), SIZE)
    u = decoder.log_depth(z, low)
    assert 0 < (u - math.log(7)).abs().mean() < 0.3


def test_a_flat_depth_lives_in_the_first_channel_whose_gain_is_sixteen() -> None:
    decoder, low = fresh(), inputs(1, dtype=torch.float32)[1]
    flat = torch.full((1, 1, *SIZE), math.log(10.0) + 0.7)  # sigma above the middle
    z = decoder.inverse(flat, low)
    gain = decoder.get_buffer("gain").flatten()
    torch.testing.assert_close(z[:, 0], torch.full_like(z[:, 0], 16.0), rtol=1e-5, atol=0)
    assert z[:, 1:].abs().max() < 1e-4
    assert gain[0] == 16 and sorted(gain.tolist())[-4:] == [8, 8, 8, 16]
    assert (gain[1::4] == 1).all() and set(gain[[4, 16, 64]].tolist()) == {2, 4, 8}


def test_bounds_are_the_product_of_the_constants_of_the_steps() -> None:
    """Six half steps at a = alpha = 0.25: L at most 5.8 and 1/m at most 6.6, times sigma."""
    least, most = fresh(sigma=1.0).lipschitz_bounds()
    assert most == pytest.approx(1.338**6, rel=4e-3) and 5.6 < most < 5.8
    assert 6.4 < 1 / least < 6.6
    half = fresh(sigma=0.5).lipschitz_bounds()
    assert half == pytest.approx((0.5 * least, 0.5 * most))
    with_one = fresh(num_half_steps=1, sigma=1.0).lipschitz_bounds()
    assert with_one[1] == pytest.approx(math.sqrt(most))


def test_a_pyramid_is_cut_to_the_image_and_nothing_else_is_lost() -> None:
    """112 x 192 pixels: 1/32 has 4 rows, so the packed feature has 16 rows and the image 14."""
    decoder = fresh(channels=2).double()
    packed = torch.randn(1, 2, 16, 24, dtype=torch.float64)
    z = decoder.project(packed, (112, 192))
    assert z.shape == (1, 256, 7, 12)
    weight, bias = decoder.projection.weight.detach(), decoder.projection.bias
    assert bias is not None
    cell = packed[0, :, 8:10, 6:8].reshape(8).numpy()  # of z's row 4, column 3
    wanted = decoder.get_buffer("gain").flatten().numpy() * (weight[:, :, 0, 0].numpy() @ cell)
    np.testing.assert_allclose(z[0, :, 4, 3].detach().numpy(), wanted, rtol=1e-10)
    changed = packed.clone()
    changed[:, :, 14:] += 1
    assert torch.equal(decoder.project(changed, (112, 192)), z)


def test_a_vit_keeps_its_grid_of_any_size() -> None:
    decoder, low = fresh(patch=14, channels=12), (torch.randn(1, 8, 5, 7), torch.randn(1, 16, 5, 7))
    z = decoder.project(torch.randn(1, 12, 5, 7), (70, 98))
    u = decoder.log_depth(z, low)
    assert z.shape == (1, 256, 5, 7) and u.shape == (1, 1, 80, 112)
    torch.testing.assert_close(decoder.inverse(u, low), z, rtol=0, atol=1e-5)


def test_sizes_that_sixteen_does_not_divide_are_refused() -> None:
    decoder, (_, low) = fresh(), inputs(1, dtype=torch.float32)
    with pytest.raises(InvalidRequest, match=r"found 191 x 100 pixels.*nearest are 192 x 96"):
        decoder.project(torch.randn(1, 8, 16, 24), (100, 191))
    with pytest.raises(InvalidRequest, match=r"found 40 x 32 pixels.*nearest are"):
        decoder.inverse(torch.randn(1, 1, 32, 40), low)


def test_other_shapes_are_refused() -> None:
    decoder, (z, low) = fresh(), inputs(1, dtype=torch.float32)
    with pytest.raises(InvalidRequest, match=r"expected \(B, 256, h, w\)"):
        decoder.log_depth(z[:, :64], low)
    with pytest.raises(InvalidRequest, match=r"expected \(B, 1, H, W\)"):
        decoder.inverse(z, low)
    with pytest.raises(InvalidRequest, match="expected at least 6 x 4"):
        decoder.project(torch.randn(1, 8, 4, 5), SIZE)


def test_autocast_does_not_touch_it() -> None:
    decoder, (z, low) = fresh(), inputs(1, dtype=torch.float32)
    packed = torch.randn(1, 8, 4, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        u, started = decoder.log_depth(z, low), decoder.project(packed.bfloat16(), SIZE)
    assert u.dtype == torch.float32 and torch.equal(u, decoder.log_depth(z, low))
    assert started.dtype == torch.float32


def test_weights_survive_a_file(tmp_path: Path, trained: StrictDecoder) -> None:
    save_file(trained.state_dict(), tmp_path / "weights.safetensors")
    other, (z, low) = random_decoder(9), inputs(1)
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(other.log_depth(z, low), trained.log_depth(z, low))


def test_one_measured_pixel_reaches_every_part() -> None:
    decoder, (z, low) = random_decoder(4), inputs(1)
    z.requires_grad_()
    decoder.log_depth(z, low)[0, 0, 17, 30].square().backward()
    for level, steps in enumerate(decoder.steps()):
        for step in steps:
            gradients = [w.grad for name, w in step.named_parameters()]
            assert all(g is not None and g.isfinite().all() and g.any() for g in gradients), level
    assert z.grad is not None and z.grad.any()


def test_every_gradient_is_finite_at_the_start() -> None:
    """Where the last layers are zero and their singular values equal."""
    decoder, (z, low) = fresh(), inputs(1, dtype=torch.float32)
    z.requires_grad_()
    decoder.log_depth(z, low).square().sum().backward()
    seen = {n: p.grad for n, p in decoder.named_parameters() if not n.startswith("projection")}
    assert all(g is not None and g.isfinite().all() for g in seen.values())
    last = [g for n, g in seen.items() if "leave" in n or "affine" in n]
    assert last and all(g is not None and g.any() for g in last)


def sparse(u: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Depth in metres, far from u, on a share of the pixels; 0 elsewhere."""
    mask = torch.rand_like(u) < share
    return torch.where(mask, (u + 0.8 * torch.randn_like(u)).exp(), 0.0), mask


@pytest.mark.parametrize("share", [0.05, 1.0])
def test_projected_target_hits_the_measurements_and_lies_within_its_bound(
    share: float, trained: StrictDecoder
) -> None:
    z, low = inputs(1)
    u = trained.log_depth(z, low)
    depth_m, mask = sparse(u.detach(), share)
    target = inverse_projected_target(trained, u, depth_m, mask, low)
    assert not target.requires_grad
    hit = trained.log_depth(target, low)
    torch.testing.assert_close(hit[mask].exp(), depth_m[mask], rtol=1e-10, atol=0)
    torch.testing.assert_close(hit[~mask], u[~mask], rtol=0, atol=1e-11)
    gap = (depth_m[mask].log() - u[mask]).norm()
    least, most = trained.lipschitz_bounds()
    assert gap / most <= (target - z).norm() <= gap / least


def test_projected_target_without_measurements_is_the_feature(trained: StrictDecoder) -> None:
    z, low = inputs(1)
    u = trained.log_depth(z, low)
    nothing = torch.zeros_like(u)
    target = inverse_projected_target(trained, u, nothing, nothing.bool(), low)
    torch.testing.assert_close(target, z, rtol=0, atol=1e-12)


def test_projected_target_refuses_depths_that_are_none() -> None:
    decoder, (z, low) = fresh(), inputs(1, dtype=torch.float32)
    u = decoder.log_depth(z, low)
    every = torch.ones_like(u, dtype=torch.bool)
    for bad in (0.0, -1.0, math.inf, math.nan):
        depth_m = torch.ones_like(u)
        depth_m[0, 0, 3, 3] = bad
        with pytest.raises(InvalidRequest, match="found 1 masked pixels"):
            inverse_projected_target(decoder, u, depth_m, every, low)
    with pytest.raises(InvalidRequest, match="expected one shape"):
        inverse_projected_target(decoder, u, torch.ones(1, 1, 4, 4), every, low)


def test_a_step_towards_the_target_brings_the_depth_closer() -> None:
    """What the target is for: a known feature to aim at, where only depth was measured."""
    decoder, (z, low) = random_decoder(5), inputs(1)
    u = decoder.log_depth(z, low).detach()
    depth_m, mask = sparse(u, 0.3)
    target = inverse_projected_target(decoder, u, depth_m, mask, low)
    errors = [
        (decoder.log_depth(z + share * (target - z), low) - depth_m.log())[mask].square().mean()
        for share in (0.0, 0.5, 0.9, 1.0)
    ]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 1e-20
