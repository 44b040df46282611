"""The restoration's configuration: what it refuses, its control, and that it is light."""

import ast
from pathlib import Path

import pytest
from pydantic import ValidationError

import nightrain.depthmodel.restoration_config
from nightrain.depthmodel.restoration_config import RestorationConfig


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
def test_what_makes_no_network_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RestorationConfig.model_validate(wrong)


def test_control_takes_one_step_without_noise_whatever_else_is_said() -> None:
    ours = RestorationConfig(num_steps=8, kappa=2.0)
    control = ours.model_copy(update={"kind": "one-step"})
    assert (ours.effective_steps, ours.effective_kappa) == (8, 2.0)
    assert (control.effective_steps, control.effective_kappa) == (1, 0.0)


def test_survives_json_and_can_not_be_changed() -> None:
    config = RestorationConfig(multipliers=(1, 2), num_components=5)
    assert RestorationConfig.model_validate_json(config.model_dump_json()) == config
    with pytest.raises(ValidationError):
        config.kappa = 1.0  # pyright: ignore


def test_needs_no_torch_and_nothing_of_ours() -> None:
    tree = ast.parse(Path(str(nightrain.depthmodel.restoration_config.__file__)).read_text())
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names == {"typing", "pydantic"}
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
