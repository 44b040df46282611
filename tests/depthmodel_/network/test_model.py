"""The network: shapes, range, gradients, normalisation, sizes, images in and metres out."""

import numpy as np
import pytest
import torch
from torch import nn

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.images import resize_image
from nightrain.depthmodel.config import DepthConfig, EncoderConfig, Kind
from nightrain.depthmodel.decoder_config import DptConfig
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.network.predict import predict
from nightrain.depthmodel.network.presets import paper_depth, world_depth
from support.tiny_depth_models import KINDS, tiny_config, tiny_model


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(56, 112), (57, 101), (64, 96)])
def test_shapes(kind: Kind, size: tuple[int, int]) -> None:
    model = tiny_model(kind)
    with torch.no_grad():
        prediction = model(torch.rand(2, 3, *size))
    assert prediction.inverse_depth.shape == (2, 1, *size)
    assert prediction.inverse_depth.dtype == torch.float32
    assert [f.shape[1] for f in prediction.features] == list(model.encoder.channels)
    grids = [tuple(f.shape[2:]) for f in prediction.features]
    if kind == "dinov2":
        assert grids == [(round(size[0] / 14), round(size[1] / 14))] * 4
    elif size == (64, 96):
        assert grids == [(16, 24), (8, 12), (4, 6), (2, 3)]
    torch.testing.assert_close(
        prediction.depth_m * prediction.inverse_depth, torch.ones(2, 1, *size)
    )


@pytest.mark.parametrize("detail", ["full", "half", "quarter"])
@pytest.mark.parametrize("kind", ["dinov2", "resnet"])
def test_the_head_works_at_its_detail(kind: Kind, detail: str) -> None:
    head = DptConfig.model_validate(
        {"reassemble_channels": (8, 8, 8, 8), "fusion_channels": 8, "detail": detail}
    )
    model = tiny_model(kind, decoder=head)
    with torch.no_grad():
        features = model.encode(torch.rand(1, 3, 56, 112))
        logits = model.decoder.logits(features, (56, 112))
        assert model.decode(features, (56, 112)).shape == (1, 1, 56, 112)
    quarter = (16, 32) if kind == "dinov2" else (14, 28)  # a patch of 14 pixels in four
    factor = {"quarter": 1, "half": 2}.get(detail)
    expected = (56, 112) if factor is None else (quarter[0] * factor, quarter[1] * factor)
    assert logits.shape[2:] == expected


@pytest.mark.parametrize("kind", KINDS)
def test_a_gradient_reaches_every_weight(kind: Kind) -> None:
    model = tiny_model(kind).train()
    model(torch.rand(2, 3, 56, 112)).inverse_depth.square().mean().backward()
    assert all(p.requires_grad for p in model.parameters())
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without


@pytest.mark.parametrize("depth_m", [3.0, 10.0])
@pytest.mark.parametrize("config", [tiny_config(kind) for kind in KINDS] + [world_depth()])
def test_an_untrained_network_predicts_the_initial_depth(
    config: DepthConfig, depth_m: float
) -> None:
    torch.manual_seed(0)
    model = DepthModel(config.model_copy(update={"initial_depth_m": depth_m})).eval()
    with torch.no_grad():
        found = model(torch.rand(1, 3, 112, 224)).depth_m
    assert found.min() > 0.8 * depth_m and found.max() < 1.25 * depth_m


def test_the_range_is_reached_and_never_left() -> None:
    model = tiny_model(min_depth_m=0.5, max_depth_m=50.0)
    for logit, depth_m in ((-200.0, 50.0), (200.0, 0.5), (0.0, 1 / (0.5 * (1 / 0.5 + 1 / 50)))):
        nn.init.zeros_(model.decoder.logit.weight)
        nn.init.constant_(model.decoder.logit.bias, logit)
        with torch.no_grad():
            found = model(torch.rand(1, 3, 56, 112)).depth_m
        torch.testing.assert_close(found, torch.full_like(found, depth_m))
        predicted = predict(model, [picture(70, 50)])[0]
        assert predicted.min() >= 0.5 and predicted.max() <= 50.0


def test_the_depth_is_the_formula_of_the_logit() -> None:
    model, image = tiny_model(), torch.rand(1, 3, 56, 112)
    with torch.no_grad():
        logit = model.decoder.logits(model.encode(image), (56, 112)).double().numpy()
        found = model(image).inverse_depth.numpy()
    expected = 1 / 80 + (1 / 0.1 - 1 / 80) / (1 + np.exp(-logit))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.ptp(found) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_normalisation_is_inside(kind: Kind) -> None:
    """With mean and standard deviation by numpy, a network without normalisation agrees."""
    image = torch.rand(2, 3, 56, 112)
    pixels = image.double().numpy()
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    imagenet = (pixels - mean[:, None, None]) / std[:, None, None]
    own_mean, own_std = (f(axis=(1, 2, 3), keepdims=True) for f in (pixels.mean, pixels.std))
    plain = tiny_model(kind, normalisation="none")
    for name, by_hand in (("imagenet", imagenet), ("per-image", (pixels - own_mean) / own_std)):
        model = DepthModel(tiny_config(kind, normalisation=name)).eval()
        model.load_state_dict(plain.state_dict())
        with torch.no_grad():
            found = model(image).inverse_depth
            expected = plain(torch.from_numpy(by_hand).float()).inverse_depth
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
            assert not torch.allclose(found, plain(image).inverse_depth, rtol=1e-4)


def test_per_image_normalisation_forgets_exposure_and_survives_black() -> None:
    model = tiny_model(normalisation="per-image")
    image = torch.rand(1, 3, 56, 112)
    with torch.no_grad():
        dark = model(0.2 * image + 0.1).inverse_depth
        torch.testing.assert_close(model(image).inverse_depth, dark, rtol=1e-3, atol=1e-5)
        assert torch.isfinite(model(torch.zeros(1, 3, 56, 112)).inverse_depth).all()


@pytest.mark.parametrize(
    "image",
    [
        torch.rand(3, 56, 112),
        torch.rand(1, 1, 56, 112),
        torch.zeros(1, 3, 56, 112, dtype=torch.uint8),
        torch.rand(1, 3, 8, 112),
    ],
)
def test_an_image_of_another_shape_is_refused(image: torch.Tensor) -> None:
    with pytest.raises(InvalidRequest, match="expected"):
        tiny_model()(image)


@pytest.mark.parametrize("kind", KINDS)
def test_predict_takes_images_of_any_size(kind: Kind) -> None:
    model = tiny_model(kind)
    pictures = [picture(90, 160, 1), picture(56, 112, 2), picture(40, 33, 3), picture(90, 160, 4)]
    depths = predict(model, pictures, batch_size=3)
    assert [d.shape for d in depths] == [p.shape[:2] for p in pictures]
    assert {d.dtype for d in depths} == {np.dtype(np.float32)}
    for one, depth_m in zip(pictures, depths, strict=True):  # a picture's batch does not matter
        np.testing.assert_allclose(predict(model, [one])[0], depth_m, rtol=1e-4)
    assert predict(model, []) == []


def test_predict_is_resizing_then_the_network() -> None:
    model, image = tiny_model(), picture(56, 112)
    with torch.no_grad():
        direct = model(torch.from_numpy(image).permute(2, 0, 1)[None] / 255).depth_m[0, 0]
    np.testing.assert_allclose(predict(model, [image])[0], direct.numpy(), rtol=1e-5)
    large = picture(100, 200, 5)
    small = resize_image(large, (112, 56))
    np.testing.assert_allclose(
        predict(model, [large])[0][20:80].mean(),
        predict(model, [small])[0][11:45].mean(),
        rtol=0.02,
    )


def test_predict_leaves_the_network_as_it_was() -> None:
    model = tiny_model().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    predict(model, [picture(56, 112)])
    assert model.training and model.encoder.training
    for name, tensor in model.state_dict().items():  # the statistics of the norms, too
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((56, 112, 3), np.float32),
        np.zeros((56, 112), np.uint8),
        np.zeros((56, 112, 4), np.uint8),
        np.zeros((0, 112, 3), np.uint8),
    ],
)
def test_predict_refuses_other_arrays(image: np.ndarray) -> None:
    with pytest.raises(InvalidRequest, match=r"expected \(h, w, 3\) uint8 RGB"):
        predict(tiny_model(), [picture(56, 112), image])


@pytest.mark.parametrize("kind", ["dinov2", "resnet"])
def test_one_image_can_be_learnt(kind: Kind) -> None:
    torch.manual_seed(0)
    model = DepthModel(tiny_config(kind)).train()
    image = torch.rand(2, 3, 56, 112)
    rows = torch.linspace(0.0, 1.0, 56).view(1, 1, 56, 1).expand(2, 1, 56, 112)
    log_depth = 3.5 - 2.0 * rows  # 33 m at the top, 4.5 m at the bottom
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    losses: list[float] = []
    for _ in range(40):
        loss = (model(image).depth_m.log() - log_depth).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 8


def test_bfloat16_autocast_keeps_the_depth_fine() -> None:
    """The logit is float32: in bfloat16 neighbouring depths near 10 m would be 3 % apart."""
    model = tiny_model()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = model(torch.rand(1, 3, 56, 112)).inverse_depth
    assert found.dtype == torch.float32
    assert len(found.unique()) > 2000


def test_the_papers_network_has_its_shapes() -> None:
    """On the meta device: shapes and counts without memory."""
    with torch.device("meta"):
        model = DepthModel(paper_depth(pretrained=False))
        prediction = model(torch.empty(1, 3, 518, 784))
    assert prediction.inverse_depth.shape == (1, 1, 518, 784)
    assert [tuple(f.shape) for f in prediction.features] == [(1, 768, 37, 56)] * 4
    stages = [3, 6, 9, 12]
    assert model.encoder.network.config.out_features == [f"stage{n}" for n in stages]
    width, hidden = 768, 4 * 768
    block = 4 * (width * width + width) + 2 * width * hidden + hidden + width  # attention, MLP
    block += 2 * 2 * width + 2 * width  # two norms, two layer scales
    embedding = 3 * 14 * 14 * width + width + (1 + 37 * 37 + 1) * width  # patches, class, positions
    expected = 12 * block + embedding + 2 * width
    assert sum(p.numel() for p in model.encoder.parameters()) == expected == 86_579_712


@pytest.mark.parametrize(
    ("kind", "size", "millions"),  # of the published encoders, without their classifiers
    [
        ("dinov2", "small", 22.06),
        ("dinov2", "large", 304.37),
        ("dinov2", "giant", 1136.48),
        ("swin", "tiny", 27.52),
        ("swin", "large", 195.0),
        ("resnet", "18", 11.18),
        ("resnet", "50", 23.51),
        ("convnext", "tiny", 27.82),
    ],
)
def test_published_sizes(kind: Kind, size: str, millions: float) -> None:
    with torch.device("meta"):
        model = DepthModel(DepthConfig(encoder=EncoderConfig(kind=kind, size=size)))
    found = sum(p.numel() for p in model.encoder.parameters()) / 1e6
    assert found == pytest.approx(millions, rel=2e-3)
