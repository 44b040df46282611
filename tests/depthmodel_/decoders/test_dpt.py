"""The DPT head: what it computes, its names, and its lower stages as couplings."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional as F

from nightrain.depthmodel.config import DepthConfig, Kind
from nightrain.depthmodel.decoder_config import DptConfig
from nightrain.depthmodel.decoders.base import DepthRange, EncoderShape
from nightrain.depthmodel.decoders.dpt import DptDecoder
from nightrain.depthmodel.network.model import DepthModel
from support.tiny_depth_models import tiny_config

GRIDS = {
    "world": [(28, 48), (14, 24), (7, 12), (4, 6)],  # a ResNet on 112 x 192
    "odd": [(15, 26), (8, 13), (4, 7), (2, 4)],  # and on 57 x 101
    "cut": [(14, 25), (7, 12), (3, 6), (1, 3)],  # ConvNeXt leaves the rest of a division out
}
CHANNELS = (4, 6, 8, 10)


def head_config(**changes: Any) -> DptConfig:
    fields = {"reassemble_channels": (8, 8, 8, 8), "fusion_channels": 8, "head_channels": 8}
    return DptConfig.model_validate(fields | changes)


def make_head(one_grid: bool = False, **changes: Any) -> DptDecoder:
    torch.manual_seed(0)
    shape = EncoderShape(CHANNELS, 14 if one_grid else None)
    return DptDecoder(shape, DepthRange(0.1, 80.0, 10.0), head_config(**changes))


def maps(grids: list[tuple[int, int]], batch: int = 2) -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(batch, c, *grid) for c, grid in zip(CHANNELS, grids, strict=True)]


def plain_dpt(weights: dict[str, Tensor], features: list[Tensor]) -> Tensor:
    """The head at half detail on a pyramid, in single functions on its named weights."""

    def conv(x: Tensor, name: str) -> Tensor:
        weight = weights[f"{name}.weight"]
        return F.conv2d(x, weight, weights.get(f"{name}.bias"), padding=weight.shape[2] // 2)

    def unit(x: Tensor, name: str) -> Tensor:
        return x + conv(F.relu(conv(F.relu(x), f"{name}.first")), f"{name}.second")

    found = [
        conv(conv(f, f"reassemble.{level}.0"), f"adapt.{level}") for level, f in enumerate(features)
    ]
    path = found[3]
    for level in (3, 2, 1, 0):
        if level < 3:
            path = path + unit(found[level], f"fusion.{level}.joined")
        path = conv(unit(path, f"fusion.{level}.refine"), f"fusion.{level}.project")
        size = found[level - 1].shape[2:] if level else [2 * side for side in found[0].shape[2:]]
        path = F.interpolate(path, size=size, mode="bilinear", align_corners=False)
    return conv(F.relu(conv(conv(path, "hidden"), "last_hidden")), "logit")


@pytest.mark.parametrize("grids", ["world", "odd"])
@torch.no_grad()
def test_the_plain_head_is_what_it_was(grids: str) -> None:
    head = make_head(detail="half")
    features = maps(GRIDS[grids])
    assert torch.equal(head.logits(features, (112, 192)), plain_dpt(head.state_dict(), features))


def test_the_plain_head_has_the_names_it_had() -> None:
    units = [f"{unit}.{conv}" for unit in ("joined", "refine") for conv in ("first", "second")]
    biased = [f"fusion.{level}.{layer}" for level in range(4) for layer in [*units, "project"]]
    biased = [name for name in biased if not name.startswith("fusion.3.joined")]
    biased += [f"reassemble.{level}.0" for level in range(4)] + ["hidden", "last_hidden", "logit"]
    expected = {f"{name}.{kind}" for name in biased for kind in ("weight", "bias")}
    expected |= {f"adapt.{level}.weight" for level in range(4)}
    assert set(make_head().state_dict()) == expected


def test_the_default_is_no_part_of_the_identity() -> None:
    assert DepthConfig(decoder=DptConfig(lower="fusion")).identity == "{}"
    inverted = DepthConfig(decoder=DptConfig(lower="invertible"))
    assert inverted.identity == '{"decoder": {"kind": "dpt", "lower": "invertible"}}'
    with pytest.raises(ValidationError, match=r"fusion_channels 9: .* need an even number"):
        DptConfig(fusion_channels=9, lower="invertible")
    assert DptConfig(fusion_channels=9).fusion_channels == 9


def test_upper_layers_keep_their_names_and_shapes() -> None:
    plain, inverted = (make_head(lower=kind).state_dict() for kind in ("fusion", "invertible"))
    replaced = {name for name in plain if name.startswith(("fusion.0.", "fusion.1."))}
    new = {name for name in inverted if name.startswith("stages.")}
    assert replaced and new
    shapes = {name: tensor.shape for name, tensor in plain.items() if name not in replaced}
    assert shapes == {n: t.shape for n, t in inverted.items() if n not in new}


@pytest.mark.parametrize("detail", ["full", "half", "quarter"])
@pytest.mark.parametrize("grids", GRIDS)
@torch.no_grad()
def test_shapes_with_invertible_stages(grids: str, detail: str) -> None:
    head, features = make_head(lower="invertible", detail=detail), maps(GRIDS[grids])
    h0, w0 = GRIDS[grids][0]
    expected = {"full": (112, 192), "half": (2 * h0, 2 * w0), "quarter": (h0, w0)}[detail]
    assert head(features, (112, 192)).shape == (2, 1, *expected)


@pytest.mark.parametrize("one_grid", [False, True])
@torch.no_grad()
def test_the_path_can_be_recovered_behind_the_stages(one_grid: bool) -> None:
    """On the world's ResNet and on DINOv2's grid of 8 x 14 nothing is padded: exact."""
    head = make_head(one_grid=one_grid, lower="invertible").double()
    assert head.stages is not None
    for weight in head.stages.parameters():
        weight.normal_(std=0.1)
    seen: list[Any] = []
    head.stages.register_forward_hook(lambda _, given, out: seen.append((given, out)))
    features = [x.double() for x in maps([(8, 14)] * 4 if one_grid else GRIDS["world"])]
    head(features, (112, 196))
    ((y, low), out) = seen[0]
    assert out.shape[2:] == ((32, 56) if one_grid else (28, 48))
    found = head.stages.inverse(out, low)
    expected = (y, low[1], head.stages.project0(low[0]))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["dinov2", "resnet"])
def test_the_network_starts_at_its_initial_depth_and_learns(kind: Kind) -> None:
    head = head_config(lower="invertible")
    torch.manual_seed(0)
    model = DepthModel(tiny_config(kind, decoder=head)).train()
    image = torch.rand(2, 3, 56, 112)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    target = torch.linspace(3.5, 1.5, 56).view(1, 1, 56, 1)  # log metres
    losses: list[float] = []
    for step in range(15):
        depth_m = model(image).depth_m
        if step == 0:
            assert depth_m.min() > 8.0 and depth_m.max() < 12.5
        loss = (depth_m.log() - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        if step == 1:  # at step 0 the first layers of the couplings see zeros
            assert all(p.grad is not None and p.grad.any() for p in model.parameters())
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize("lower", ["fusion", "invertible"])
def test_the_upper_part_can_be_frozen(lower: str) -> None:
    """Ten steps on one pixel: frozen layers keep their bytes and pass gradients on."""
    head = make_head(lower=lower, detail="quarter")
    head.logit.reset_parameters()  # logits about 0
    upper = ("reassemble.2.", "reassemble.3.", "adapt.2.", "adapt.3.", "fusion.2.", "fusion.3.")
    frozen = [p for name, p in head.named_parameters() if name.startswith(upper)]
    trained = [p for name, p in head.named_parameters() if not name.startswith(upper)]
    for parameter in frozen:
        parameter.requires_grad_(False)
    before = [p.clone() for p in frozen]
    features = [x.requires_grad_() for x in maps(GRIDS["world"])]
    optimiser = torch.optim.SGD(head.parameters(), lr=0.1)
    for _ in range(10):
        optimiser.zero_grad()
        head.logits(features, (112, 192))[0, 0, 13, 20].square().backward()
        optimiser.step()
    for feature in features:
        assert feature.grad is not None and bool(feature.grad.isfinite().all())
        assert bool(feature.grad[0].any()) and not feature.grad[1].any()
    assert all(torch.equal(*pair) for pair in zip(frozen, before, strict=True))
    assert all(p.grad is not None and bool(p.grad.any()) for p in trained)
