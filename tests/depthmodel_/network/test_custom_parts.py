"""A decoder, an encoder and a loss of another package, named "package.module:Class"."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.registry import Registry
from nightrain.depthmodel.config import (
    ENCODERS,
    DepthConfig,
    EncoderConfig,
    RestorationConfig,
)
from nightrain.depthmodel.decoder_config import DECODERS
from nightrain.depthmodel.losses.base import LOSSES
from nightrain.depthmodel.losses.mixtures import TeacherLoss, teacher_loss
from nightrain.depthmodel.losses.restoration import RestorerLoss
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.network.model_card import ModelCard, provenance
from support.tiny_depth_models import tiny_config

MODULE = '''
import torch
from torch import nn

from nightrain.depthmodel.decoders.base import Decoder
from nightrain.depthmodel.losses.base import LossTerm, TermValue
from support.own_encoder import Pyramid


class Three(Pyramid):
    def __init__(self):
        super().__init__()
        self.channels = self.channels[:3]


class Linear(Decoder):
    """A 1x1 convolution of the finest and the coarsest map."""

    def __init__(self, encoder, depths, hidden=4):
        super().__init__(encoder, depths)
        self.enter = nn.Conv2d(encoder.channels[0] + encoder.channels[3], hidden, 1)
        self.leave = nn.Conv2d(hidden, 1, 1)

    def forward(self, maps, size):
        coarse = nn.functional.interpolate(maps[3], size=maps[0].shape[2:])
        log_depth = self.leave(self.enter(torch.cat([maps[0], coarse], 1)))
        return 1 / (self.depths.initial_m * log_depth.exp())


class Nearness(LossTerm):
    """Mean inverse depth."""

    def __call__(self, inputs):
        return TermValue(inputs.inverse_depth.mean(), {"pixels": torch.tensor(1.0)})
'''
SMALL = RestorationConfig(base_channels=8, multipliers=(1, 2), num_blocks=1)


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "user_networks.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "user_networks", raising=False)


def own_config(**changes: Any) -> DepthConfig:
    fields = {
        "encoder": {"kind": "user_networks:Pyramid", "options": {"width": 4}},
        "decoder": {"kind": "user_networks:Linear", "options": {"hidden": 6}},
        "input_size": (96, 64),
    }
    return DepthConfig.model_validate(fields | changes)


def test_own_encoder_and_decoder_train_and_survive_a_model_folder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = own_config(restoration=SMALL)
    model = DepthModel(config)
    assert model.encoder_name == "scratch" and model.decoder.lipschitz_bounds() is None
    image = torch.rand(2, 3, 64, 96)
    prediction = model(image)
    assert prediction.inverse_depth.shape == (2, 1, 64, 96)
    prediction.inverse_depth.square().mean().backward()
    parts = ("encoder.stages.0.weight", "decoder.leave.weight", "restoration.unet.residual.weight")
    gradients = {n: p.grad for n, p in model.named_parameters()}
    assert all(gradients[n] is not None and gradients[n].any() for n in parts)
    model.save_pretrained(
        tmp_path / "model", ModelCard(title="t", description="d", data_set="none")
    )
    again = DepthModel.from_pretrained(tmp_path / "model")
    assert again.config == config and again.digest == model.digest
    assert torch.equal(again(image).inverse_depth, model.eval()(image).inverse_depth)
    assert "custom: user_networks.Linear" in (tmp_path / "model" / "README.md").read_text()
    assert provenance(config)["encoder"] == "custom: user_networks:Pyramid"
    assert config.identity != own_config(decoder={"kind": "user_networks:Linear"}).identity


@pytest.mark.parametrize("registry", [ENCODERS, DECODERS, LOSSES], ids=lambda r: r.what)
def test_every_built_in_name_leads_to_its_class(registry: Registry) -> None:
    for name in registry.classes:
        assert registry.check(name) == name and not registry.load(name).__abstractmethods__


def test_own_decoder_stands_on_a_built_in_encoder() -> None:
    config = tiny_config().model_dump() | {"decoder": {"kind": "user_networks:Linear"}}
    model = DepthModel(DepthConfig.model_validate(config))
    assert model(torch.rand(1, 3, 56, 112)).depth_m.shape == (1, 1, 56, 112)


def test_own_loss_is_a_term_of_the_sum() -> None:
    inverse_depth = torch.rand(2, 1, 4, 5, requires_grad=True)
    weights = TeacherLoss(
        photometric=0, velocity=0, smoothness=0, extra={"user_networks:Nearness": 0.5}
    )
    loss = teacher_loss(weights, {}, inverse_depth)
    loss.total.backward()
    assert loss.total.item() == pytest.approx(0.5 * inverse_depth.mean().item())
    assert set(loss.parts) == {"user_networks:Nearness"} and set(loss.statistics) == {"pixels"}
    assert inverse_depth.grad is not None and bool((inverse_depth.grad == 0.5 / 40).all())
    assert RestorerLoss(extra={"silog": 0.1}).extra == {"silog": 0.1}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"decoder": {"kind": "dtp"}}, "found decoder 'dtp', expected one of dpt, pixelformer"),
        ({"decoder": {"kind": "user_networks:Pyramid"}}, "not a subclass of .*decoders.base"),
        ({"decoder": {"kind": "user_networks:Linear", "options": {"h": 1}}}, "the options h, only"),
        ({"decoder": {"kind": "user_network:Linear"}}, "user_network cannot be imported"),
        ({"encoder": {"kind": "user_networks:Linear"}}, "not a subclass of .*encoder.Encoder"),
        ({"encoder": {"kind": "user_networks:Swin"}}, "has no Swin, only .*Three"),
        (
            {"encoder": {"kind": "user_networks:Pyramid", "pretrained": {"id_or_folder": "/x"}}},
            "loads its own weights; use options",
        ),
        ({"encoder": {"kind": "swin", "options": {"a": 1}}}, "swin has none"),
    ],
)
def test_a_wrong_class_is_refused_when_the_configuration_is_read(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        own_config(**fields)


def test_a_wrong_loss_is_refused_before_anything_runs() -> None:
    with pytest.raises(ValueError, match=r"found loss 'velocty', expected one of photometric"):
        TeacherLoss(extra={"velocty": 1.0})
    with pytest.raises(ValueError, match=r"not a subclass of .*LossTerm"):
        RestorerLoss(extra={"user_networks:Linear": 1.0})


def test_an_encoder_of_three_maps_is_refused() -> None:
    config = tiny_config().model_copy(update={"encoder": EncoderConfig(kind="user_networks:Three")})
    with pytest.raises(InvalidRequest, match=r"expected 4 maps.*set its attribute channels"):
        DepthModel(config)
