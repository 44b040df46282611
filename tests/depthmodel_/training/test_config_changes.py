"""Configurations from YAML files and dotted assignments: values, names, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.roles.restorer import RestorerRole
from nightrain.depthmodel.training.config_changes import (
    as_yaml,
    fields_of,
    parsed,
    read_config,
    with_changes,
    with_set,
)
from nightrain.depthmodel.training.optimiser import OptimiserConfig
from nightrain.depthmodel.training.preset_registry import load_preset

BASE = fields_of(load_preset("world-base"))


def changed(*assignments: str) -> Any:
    return parsed(with_set(BASE, assignments))


def test_assignments_are_typed_and_applied_in_order() -> None:
    config = changed(
        "optimiser.lr.head=3e-4",
        "optimiser.lr.encoder=1.5e-5",
        "data.loss_size=[96, 64]",
        "data.augmentation=null",
        "model.restoration.num_steps=8",
        "optimiser.lr.restoration=1E-3",
        "role.loss.deviation=0",
        "batch_size=4",
        "batch_size=5",
    )
    assert config.optimiser.lr["decoder"] == 3e-4 and config.optimiser.lr["encoder"] == 1.5e-5
    assert config.optimiser.lr["restoration"] == 1e-3 and "head" not in config.optimiser.lr
    assert config.data.loss_size == (96, 64) and config.data.augmentation is None
    assert config.model.restoration is not None and config.model.restoration.num_steps == 8
    assert isinstance(config.role, RestorerRole) and config.role.loss.deviation == 0
    assert config.batch_size == 5
    assert parsed(BASE) == load_preset("world-base")


def test_another_kind_starts_from_its_defaults() -> None:
    config = changed("model.decoder.kind=strict", "model.decoder.num_half_steps=3")
    assert config.model.decoder.model_dump() == {
        **type(config.model.decoder)().model_dump(),
        "num_half_steps": 3,
    }
    same = changed("model.decoder.kind=dpt", "model.decoder.detail=quarter")
    assert same.model.decoder.fusion_channels == BASE["model"]["decoder"]["fusion_channels"]
    teacher = changed(
        "role={kind: teacher, supervision: lidar}", "role.frozen=[encoder]", "data.lidar_depth=true"
    )
    assert teacher.role.kind() == "teacher" and teacher.role.frozen == ("encoder",)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("optimiser.clipnorm=1", r"^optimiser\.clipnorm is not a field .*; expected clip_norm"),
        ("optimizer.lr.head=1", r"^optimizer is not a field .*; expected optimiser"),
        ("role.loss.silgo=1", r"^role\.loss\.silgo is not .*; expected silog"),
        ("model.restoration.steps=1", r"^model\.restoration\.steps .* expected num_steps"),
        ("model.restoration={nm_steps: 1}", r"^model\.restoration\.nm_steps .* num_steps"),
        ("data.zzz=1", r"^data\.zzz is not a field .*; expected one of split, conditions"),
        ("optimiser.clip_norm=fast", r"^optimiser\.clip_norm is 'fast'; expected a valid number"),
        ("optimiser.clip_norm=-1", r"optimiser\.clip_norm is -1; expected more than 0"),
        ("optimiser.lr.encoder=7", r"optimiser\.lr: encoder 7\.0; expected rates of at least 0"),
        ("num_steps=1.5", r"^num_steps is 1\.5; expected a valid integer"),
        ("batch_size=true", r"^batch_size is True; expected a valid integer"),
        ("data.loss_size=[384]", r"^data\.loss_size"),
        ("data.p_clear=often", r"^data\.p_clear.* is 'often'; expected"),
        ("model.decoder.kind=dtp", r"found decoder 'dtp', expected one of dpt, pixelformer"),
        ("model.decoder.fusion_channels=a", r"^model\.decoder\.fusion_channels is 'a'; expected"),
        ("role.kind=tutor", r"found role 'tutor', expected one of teacher, student, restorer"),
        ("role.target=sonar", r"role\.target is 'sonar'; expected 'lidar' or 'exact'"),
        ("seed", r"^--set 'seed' is not an assignment; expected NAME=VALUE"),
        ("a..b=1", r"^--set 'a\.\.b=1' is not an assignment"),
        ("seed=[1", r"^--set seed: '\[1' is not valid YAML"),
        ("seed=!!python/object:os.system x", r"^--set seed: .* is not valid YAML"),
    ],
)
def test_refusals_name_the_field_what_was_found_and_the_nearest_names(
    assignment: str, message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        changed(assignment)


def test_a_printed_configuration_is_read_back(tmp_path: Path) -> None:
    for name in ("world-base", "world-stereo", "kitti-base", "paper-teacher"):
        path = tmp_path / f"{name}.yaml"
        path.write_text(as_yaml(fields_of(load_preset(name))))
        preset, fields = read_config(path)
        assert preset is None and parsed(fields) == load_preset(name)


def test_a_file_names_a_preset_and_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("preset: world-base\noptimiser:\n  lr: {encoder: 2e-5}\nnum_steps: 30\n")
    preset, fields = read_config(path)
    assert preset == "world-base"
    config = parsed(with_changes(BASE, fields))
    assert config.num_steps == 30 and config.optimiser.lr["encoder"] == 2e-5
    assert config.optimiser.lr["decoder"] == BASE["optimiser"]["lr"]["decoder"]


def test_the_record_of_a_run_is_a_whole_configuration(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"sha256": "0", "run": {"config": BASE, "dataset": "d"}}))
    assert read_config(path) == (None, BASE)


@pytest.mark.parametrize("text", ["", "- a\n", "a: [1\n", "a: 1\na: 2\n", "preset: 7\n", "\x00"])
def test_what_is_no_configuration_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(InvalidRequest, match=r"run\.yaml.*(not a valid configuration|preset is 7)"):
        read_config(path)
    with pytest.raises(InvalidRequest, match="not a valid configuration"):
        read_config(tmp_path / "absent.yaml")


def test_a_whole_configuration_without_a_field_names_it(tmp_path: Path) -> None:
    without = {k: v for k, v in BASE.items() if k != "model"}
    with pytest.raises(InvalidRequest, match=r"^model is missing\."):
        parsed(without)


def test_the_decay_is_polynomial_to_a_share_of_the_rate() -> None:
    config = OptimiserConfig(num_warmup_steps=0, decay_power=0.9, final_factor=0.1)
    assert config.rate(0, 100) == 1.0 and config.rate(100, 100) == pytest.approx(0.1)
    assert config.rate(50, 100) == pytest.approx(0.1 + 0.9 * 0.5**0.9)
    assert OptimiserConfig(num_warmup_steps=0).rate(50, 100) == 0.5
