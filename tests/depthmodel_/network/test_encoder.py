"""Pretrained encoders are loaded whole or refused; they give what transformers' own model gives."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, Dinov2Model, ResNetModel

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.config import EncoderConfig, Kind, PoseConfig
from nightrain.depthmodel.network.encoder import TransformersEncoder
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.network.pose import PoseNet
from nightrain.depthmodel.weights import Weights
from support.tiny_depth_models import KINDS, published, tiny_config


def load(folder: Path, kind: Kind, size: str = "test") -> TransformersEncoder:
    config = EncoderConfig(kind=kind, size=size, pretrained=Weights(str(folder)))
    return TransformersEncoder(config).eval()


def test_dinov2_gives_the_normed_patch_tokens(tmp_path: Path) -> None:
    encoder = load(published(tmp_path / "dino", "dinov2"), "dinov2")
    own = Dinov2Model.from_pretrained(tmp_path / "dino").eval()
    image = torch.randn(2, 3, 56, 84)
    with torch.no_grad():
        maps = encoder(image)
        expected = own(image, output_hidden_states=True)
        taps = [own.layernorm(expected.hidden_states[n]) for n in (1, 2, 3, 4)]
    torch.testing.assert_close(taps[3], expected.last_hidden_state)
    for found, tokens in zip(maps, taps, strict=True):
        torch.testing.assert_close(found.flatten(2).transpose(1, 2), tokens[:, 1:])


def test_resnet_gives_its_last_state(tmp_path: Path) -> None:
    encoder = load(published(tmp_path / "resnet", "resnet"), "resnet")
    own = ResNetModel.from_pretrained(tmp_path / "resnet").eval()
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(encoder(image)[3], own(image).last_hidden_state)


def test_swin_gives_the_published_final_norm(tmp_path: Path) -> None:
    encoder = load(published(tmp_path / "swin", "swin"), "swin")
    own = AutoModel.from_pretrained(tmp_path / "swin").eval()
    image = torch.randn(1, 3, 128, 128)  # the last stage is one whole window
    with torch.no_grad():
        found, expected = encoder(image)[3], own(image).last_hidden_state
    torch.testing.assert_close(found.flatten(2).transpose(1, 2), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_every_published_tensor_arrives_without_a_word(
    tmp_path: Path, kind: Kind, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = published(tmp_path / kind, kind)
    capfd.readouterr()
    model = DepthModel(tiny_config(kind, Weights(str(folder))))
    assert capfd.readouterr() == ("", "")
    assert model.encoder_name.startswith(f"{kind}@")
    # By value, because transformers loads some names under others; all values differ.
    loaded = {tensor.numpy().tobytes() for tensor in model.encoder.state_dict().values()}
    left_out = ["classifier.", "embeddings.mask_token"]
    left_out += ["convnext.layernorm."] if kind == "convnext" else []  # of the pooled vector
    for name, tensor in load_file(folder / "model.safetensors").items():
        assert (tensor.numpy().tobytes() in loaded) != name.startswith(tuple(left_out)), name


def test_another_kind_or_size_is_refused(tmp_path: Path) -> None:
    resnet = published(tmp_path / "resnet", "resnet")
    with pytest.raises(InvalidRequest, match="a model of type 'resnet', expected 'dinov2'"):
        load(resnet, "dinov2")
    with pytest.raises(InvalidRequest, match=r"resnet@.* is not a resnet of size 'micro'"):
        load(resnet, "resnet", "micro")
    with pytest.raises(InvalidRequest, match="There is no folder"):
        load(tmp_path / "none", "resnet")


@pytest.mark.parametrize("change", ["missing", "extra"])
def test_an_encoder_with_more_or_fewer_blocks_is_refused(tmp_path: Path, change: str) -> None:
    """Shapes alone would not tell a deeper network, whose last blocks would be dropped."""
    folder = published(tmp_path / "dino", "dinov2")
    file = folder / "model.safetensors"
    tensors = load_file(file)
    if change == "missing":
        del tensors["encoder.layer.3.norm1.weight"]
    else:
        tensors["encoder.layer.4.norm1.weight"] = torch.ones(32)
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(InvalidRequest, match=r"the first being .*layer\.[34]\.norm1\.weight"):
        load(folder, "dinov2")


def test_the_pose_network_starts_from_a_resnet_for_one_image(tmp_path: Path) -> None:
    folder = published(tmp_path / "resnet", "resnet")
    pose = PoseNet(PoseConfig(size="test", pretrained=Weights(str(folder)))).eval()
    single = load(folder, "resnet")
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():  # the same image twice is the image once
        both = pose.encoder(torch.cat((image, image), dim=1))
        for found, expected in zip(both, single(image), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
