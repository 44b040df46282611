"""Swin weights of timm in the Swin of transformers: the same maps, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.config import EncoderConfig
from nightrain.depthmodel.network.encoder import make_encoder
from nightrain.depthmodel.training.preset_registry import load_preset
from nightrain.depthmodel.weights import Weights
from support.tiny_depth_models import published

NUMBERS: dict[str, Any] = {
    "embed_dim": 8,
    "depths": (1, 1, 2, 1),
    "num_heads": (1, 1, 2, 2),
    "window_size": 4,
    "img_size": 128,
}


@pytest.fixture
def network() -> Any:
    """A random Swin of timm, with norms that are not the identity."""
    torch.manual_seed(3)
    model = timm.create_model("swin_tiny_patch4_window7_224", num_classes=5, **NUMBERS).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def saved(folder: Path, model: Any, **config: Any) -> EncoderConfig:
    folder.mkdir()
    fields = {"architecture": "swin_tiny_patch4_window7_224", "num_classes": 5} | config
    (folder / "config.json").write_text(json.dumps(fields))
    save_file(model.state_dict(), folder / "model.safetensors")
    return EncoderConfig(kind="swin", size="test", pretrained=Weights(str(folder)))


@torch.no_grad()
def test_its_maps_are_timms_own(network: Any, tmp_path: Path) -> None:
    encoder = make_encoder(saved(tmp_path / "swin", network)).eval()
    image = torch.randn(2, 3, 128, 128)
    found = encoder(image)
    stages = network.forward_intermediates(image, intermediates_only=True)
    last = network.forward_features(image).permute(0, 3, 1, 2)  # with the final norm
    torch.testing.assert_close(found[3], last, rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(found[:3], stages[:3], strict=True):
        # transformers adds a layer norm, with its initial weights here, to every map
        normed = torch.nn.functional.layer_norm(theirs.permute(0, 2, 3, 1), theirs.shape[1:2])
        torch.testing.assert_close(ours, normed.permute(0, 3, 1, 2), rtol=1e-4, atol=1e-4)


def test_other_weights_are_one_sentence(network: Any, tmp_path: Path) -> None:
    config = saved(tmp_path / "swin", network)
    with pytest.raises(InvalidRequest, match="not a swin of size 'tiny': its tensors have other"):
        make_encoder(config.model_copy(update={"size": "tiny"}))
    vit = saved(tmp_path / "vit", network, architecture="vit_base_patch16_224")
    with pytest.raises(InvalidRequest, match="timm's 'vit_base_patch16_224', expected a swin"):
        make_encoder(vit)
    network.layers[0].other = torch.nn.Linear(2, 2)
    other = saved(tmp_path / "other", network)
    with pytest.raises(InvalidRequest, match=r"layers\.0\.other\.bias, which is not of a Swin"):
        make_encoder(other)


def test_weights_of_transformers_are_read_as_before(tmp_path: Path) -> None:
    folder = published(tmp_path / "swin", "swin")
    encoder = make_encoder(EncoderConfig(kind="swin", size="test", pretrained=Weights(str(folder))))
    assert encoder.name.startswith("swin@")


def test_kittis_encoder_is_a_commit_that_can_be_fetched() -> None:
    pretrained = load_preset("kitti-base").model.encoder.pretrained
    assert pretrained is not None and pretrained.is_pinned
    assert pretrained.id_or_folder.startswith("timm/swin_large")
