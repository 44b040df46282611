"""PixelFormer's decoder: shapes, its parts by name, one state, gradients of one pixel."""

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.decoder_config import PixelFormerConfig
from nightrain.depthmodel.decoders.base import DepthRange, EncoderShape
from nightrain.depthmodel.decoders.invertible import InvertibleStages
from nightrain.depthmodel.decoders.pixelformer import (
    AttentionStage,
    PixelFormerDecoder,
    QueryInitialiser,
    as_pyramid,
)

CHANNELS = (4, 6, 10, 12)
DEPTHS = DepthRange(0.1, 80.0, 10.0)
LOWER = ["attention", "invertible"]
GRIDS = {
    "world": [(28, 48), (14, 24), (7, 12), (4, 6)],  # a ResNet on 112 x 192
    "odd": [(15, 26), (8, 13), (4, 7), (2, 4)],  # and on 57 x 101
    "cut": [(14, 25), (7, 12), (3, 6), (1, 3)],  # ConvNeXt leaves the rest of a division out
    "one": [(8, 14)] * 4,  # DINOv2 on 112 x 196
}


def make_config(lower: str, **changes: Any) -> PixelFormerConfig:
    fields = {"embed_dim": 8, "head_dim": 4, "num_bins": 16, "lower": lower} | changes
    return PixelFormerConfig.model_validate(fields)


def make_decoder(lower: str, depth_m: float | None = None) -> PixelFormerDecoder:
    """A decoder that starts at a depth; None: with a last layer that varies over the image."""
    torch.manual_seed(0)
    depths = DepthRange(0.1, 80.0, depth_m or 10.0)
    decoder = PixelFormerDecoder(EncoderShape(CHANNELS), depths, make_config(lower))
    if depth_m is None:
        torch.manual_seed(0)
        for layer in (decoder.logits, decoder.upper.bins.share):
            layer.reset_parameters()
    return decoder


def maps(grids: str = "world") -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(2, c, *grid) for c, grid in zip(CHANNELS, GRIDS[grids], strict=True)]


@pytest.mark.parametrize("lower", LOWER)
@pytest.mark.parametrize("grids", GRIDS)
@torch.no_grad()
def test_shapes_and_range(lower: str, grids: str) -> None:
    features = [100 * feature for feature in maps(grids)]
    depth_m = make_decoder(lower).depth_m(features, (57, 101))
    assert depth_m.shape == (2, 1, 57, 101) and depth_m.dtype == torch.float32
    assert depth_m.min() >= 0.1 and depth_m.max() <= 80.0 and depth_m.std() > 0.1


@pytest.mark.parametrize("lower", LOWER)
@torch.no_grad()
def test_an_image_does_not_depend_on_its_batch(lower: str) -> None:
    decoder, features = make_decoder(lower), maps("odd")
    both = decoder.depth_m(features, (30, 52))
    for k in range(2):
        alone = decoder.depth_m([feature[k : k + 1] for feature in features], (30, 52))
        torch.testing.assert_close(alone, both[k : k + 1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("lower", LOWER)
@pytest.mark.parametrize("depth_m", [3.0, 10.0])
@torch.no_grad()
def test_an_untrained_decoder_predicts_the_wanted_depth(lower: str, depth_m: float) -> None:
    found = make_decoder(lower, depth_m).depth_m(maps(), (112, 192))
    assert found.min() > 0.8 * depth_m and found.max() < 1.25 * depth_m


@torch.no_grad()
def test_the_first_queries_are_the_map_with_pooled_maps() -> None:
    """The pooling by numpy: means over cells whose edges are rounded outwards."""
    torch.manual_seed(0)
    initial, x = QueryInitialiser(5, 8).double(), torch.randn(2, 5, 7, 9, dtype=torch.float64)
    parts = [x]
    for branch, cells in zip(initial.branches, (1, 2, 3, 6), strict=True):
        assert isinstance(branch, nn.Sequential)
        weight = branch.state_dict()["0.weight"][:, :, 0, 0].numpy()
        pooled = np.zeros((2, 5, cells, cells))
        for i, j in np.ndindex(cells, cells):
            rows = slice(i * 7 // cells, -(-(i + 1) * 7 // cells))
            columns = slice(j * 9 // cells, -(-(j + 1) * 9 // cells))
            pooled[:, :, i, j] = x.numpy()[:, :, rows, columns].mean(axis=(2, 3))
        mixed = np.einsum("oc,bchw->bohw", weight, pooled)
        mean, var = (f(axis=(1, 2, 3), keepdims=True) for f in (mixed.mean, mixed.var))
        normed = torch.from_numpy((mixed - mean) / np.sqrt(var + 1e-5)).clamp_min(0)
        parts.append(F.interpolate(normed, size=(7, 9), mode="bilinear", align_corners=False))
    expected = F.conv2d(torch.cat(parts, 1), initial.merge.weight, initial.merge.bias, padding=1)
    torch.testing.assert_close(initial(x), expected, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_a_stage_adds_what_attention_found_to_both_projections() -> None:
    torch.manual_seed(0)
    stage = AttentionStage(3, 5, 8, make_config("attention")).double()
    query, encoded = (torch.randn(1, c, 4, 6, dtype=torch.float64) for c in (3, 5))
    q, e = stage.project_query(query), stage.project_source(encoded)

    def norm(x: Tensor) -> Tensor:  # over channels, which are last
        return (x - x.mean(-1, keepdim=True)) / (
            x.var(-1, correction=0, keepdim=True) + 1e-5
        ).sqrt()

    attended = stage.attention(norm(q.permute(0, 2, 3, 1)), norm(e.permute(0, 2, 3, 1)))
    x = q.permute(0, 2, 3, 1) + attended
    x = norm(x + stage.mlp(norm(x)))
    expected = x.permute(0, 3, 1, 2) + q + e
    torch.testing.assert_close(stage(query, encoded), expected, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_queries_are_cropped_or_continued_to_the_encoders_grid() -> None:
    stage, encoded = AttentionStage(3, 5, 8, make_config("attention")), torch.randn(1, 5, 4, 6)
    query = torch.randn(1, 3, 6, 5)
    fitted = torch.zeros(1, 3, 4, 6)
    fitted[..., :5] = query[:, :, :4]
    assert torch.equal(stage(query, encoded), stage(fitted, encoded))


@pytest.mark.parametrize("lower", LOWER)
def test_eval_and_train_are_one_state(lower: str) -> None:
    decoder, features = make_decoder(lower, 10.0), maps()
    before = {name: tensor.clone() for name, tensor in decoder.state_dict().items()}
    with torch.no_grad():
        assert torch.equal(decoder.train()(features, (56, 96)), decoder.eval()(features, (56, 96)))
    assert all(torch.equal(tensor, before[n]) for n, tensor in decoder.state_dict().items())


def test_only_the_lower_stages_differ_between_the_kinds() -> None:
    plain, inverted = (make_decoder(lower).state_dict() for lower in LOWER)
    assert {name.split(".")[0] for name in plain} == {"upper", "lower", "logits"}
    shapes = [
        {name: t.shape for name, t in state.items() if not name.startswith("lower.")}
        for state in (plain, inverted)
    ]
    assert shapes[0] == shapes[1] and len(shapes[0]) > 20
    assert not {n for n in plain if n.startswith("lower.")} & set(inverted)


@pytest.mark.parametrize("lower", LOWER)
def test_the_upper_part_can_be_frozen(lower: str) -> None:
    """Ten steps on one pixel: frozen layers keep their bytes and pass gradients on."""
    decoder = make_decoder(lower, 10.0).train()
    frozen = list(decoder.upper.parameters())
    trained = [*decoder.lower.parameters(), *decoder.logits.parameters()]
    assert len(frozen) + len(trained) == len(list(decoder.parameters()))
    for parameter in frozen:
        parameter.requires_grad_(False)
    before = [p.clone() for p in frozen]
    features = [feature.requires_grad_() for feature in maps()]
    optimiser = torch.optim.SGD(decoder.parameters(), lr=0.1)
    for _ in range(10):
        optimiser.zero_grad()
        (decoder.depth_m(features, (112, 192))[0, 0, 50, 90].log() - 3.0).square().backward()
        optimiser.step()
    for feature in features:
        assert feature.grad is not None and bool(feature.grad.isfinite().all())
        assert bool(feature.grad[0].any()) and not feature.grad[1].any()
    assert all(torch.equal(*pair) for pair in zip(frozen, before, strict=True))
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in trained)
    assert all(bool(p.grad.any()) for p in trained if p.grad is not None)


@pytest.mark.parametrize("lower", LOWER)
def test_a_depth_can_be_learnt(lower: str) -> None:
    decoder, features = make_decoder(lower, 10.0), maps()
    target = torch.linspace(3.5, 1.5, 112).view(1, 1, 112, 1)  # log metres
    optimiser = torch.optim.AdamW(decoder.parameters(), lr=1e-3)
    losses: list[float] = []
    for _ in range(15):
        loss = (decoder.depth_m(features, (112, 192)).log() - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 5


@pytest.mark.parametrize("grids", ["world", "one"])
@torch.no_grad()
def test_queries_can_be_recovered_behind_the_invertible_stages(grids: str) -> None:
    decoder = make_decoder("invertible").double()
    assert isinstance(decoder.lower, InvertibleStages)
    for weight in decoder.lower.parameters():
        weight.normal_(std=0.1)
    seen: list[Any] = []
    decoder.lower.register_forward_hook(lambda _, given, out: seen.append((given, out)))
    decoder.depth_m([feature.double() for feature in maps(grids)], (112, 192))
    ((y, low), out) = seen[0]
    found = decoder.lower.inverse(out, low)
    expected = (y, decoder.lower.project1(low[1]), decoder.lower.project0(low[0]))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_the_depth_is_float32_under_autocast() -> None:
    decoder, features = make_decoder("invertible"), maps()
    with torch.autocast("cpu", torch.bfloat16):
        depth_m = decoder.depth_m(features, (112, 192))
    assert depth_m.dtype == torch.float32 and len(depth_m.unique()) > 2000


def test_one_grid_becomes_a_pyramid_and_a_pyramid_stays() -> None:
    found = as_pyramid(maps("one"))
    assert [tuple(x.shape[2:]) for x in found] == [(32, 56), (16, 28), (8, 14), (4, 7)]
    pyramid = maps()
    assert all(a is b for a, b in zip(as_pyramid(pyramid), pyramid, strict=True))


def test_the_published_decoder_has_its_widths() -> None:
    """On the meta device: PixelFormer on a Swin-L at 352 x 1120, as its repository has it."""
    channels, grids = (192, 384, 768, 1536), [(88, 280), (44, 140), (22, 70), (11, 35)]
    for lower in LOWER:
        with torch.device("meta"):
            config = PixelFormerConfig.model_validate({"lower": lower})
            decoder = PixelFormerDecoder(EncoderShape(channels), DEPTHS, config)
            features = [torch.empty(1, c, *g) for c, g in zip(channels, grids, strict=True)]
            assert decoder.depth_m(features, (352, 1120)).shape == (1, 1, 352, 1120)
        shapes = {name: tuple(t.shape) for name, t in decoder.state_dict().items()}
        queries = {4: 512, 3: 256, 2: 128, 1: 64}
        for stage, (dim, heads) in {4: (1024, 32), 3: (512, 16), 2: (256, 8), 1: (128, 4)}.items():
            name = f"upper.stage{stage}" if stage > 2 else f"lower.stage{stage}"
            if stage > 2 or lower == "attention":
                assert shapes[f"{name}.project_query.weight"] == (dim, queries[stage], 3, 3)
                assert shapes[f"{name}.attention.offset_bias"] == (heads, 13 * 13)
                assert shapes[f"{name}.mlp.0.weight"] == (4 * dim, dim)
        assert shapes["upper.bins.hidden.weight"] == (2048, 512)
        assert shapes["upper.bins.share.weight"] == (256, 2048)
        assert shapes["upper.initial.merge.weight"] == (512, 1536 + 4 * 512, 3, 3)
        assert shapes["logits.weight"] == (256, 128, 3, 3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"embed_dim": 30, "head_dim": 16}, "embed_dim 30 is not a multiple of head_dim 16"),
        ({"embed_dim": 15, "head_dim": 5}, "embed_dim 15: pixel shuffling needs an even number"),
        ({"lower": "fusion"}, "'attention' or 'invertible'"),
        ({"num_bins": 1}, "greater than or equal to 2"),
        ({"dims": 3}, "Extra inputs"),
    ],
)
def test_a_wrong_configuration_says_what_is_wrong(fields: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PixelFormerConfig.model_validate(fields)


def test_a_wrong_range_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"found depths from 5\.0 to 1\.0 m"):
        depths = DepthRange(5.0, 1.0, 3.0)
        PixelFormerDecoder(EncoderShape(CHANNELS), depths, make_config("attention"))


def test_the_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        PixelFormerConfig().lower = "invertible"  # type: ignore[misc]
