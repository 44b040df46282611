"""A role of another package: named by its class, trained through public means, refused in words."""

import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.record import read_record
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.network.model_card import read_card
from nightrain.depthmodel.training.config import TrainConfig
from nightrain.pipelines.depth.train_job import TrainJob, train_network
from nightrain.pipelines.runs.stop import Stop
from support.tiny_training import lidar_teacher, make_dataset, outcome

MODULE = '''
"""A role that learns one constant depth, and a preset that trains it."""

import torch
from torch import nn

from nightrain.depthmodel.losses.weighted_sum import LossSums, finite_outputs
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.roles.objective import Objective
from nightrain.depthmodel.roles.role import Role
from nightrain.depthmodel.roles.teacher import TeacherRole
from nightrain.depthmodel.training.config import checked
from support.tiny_training import lidar_teacher


class Head(nn.Linear):
    def save_pretrained(self, folder):
        folder.mkdir(parents=True)
        (folder / "weight.txt").write_text(str(self.weight.tolist()))


class Constant(Objective):
    def __init__(self, model, depth_m):
        super().__init__({"depth": DepthModel(model), "extra": Head(1, 1)})
        self.depth_m = depth_m

    def forward(self, batch, epoch):
        inverse_depth = self.trained["depth"](batch["image"]).inverse_depth
        sums = LossSums(finite_outputs(inverse_depth, {}))
        sums.add("constant", 1.0, (inverse_depth * self.depth_m - 1).abs().mean())
        sums.add("extra", 1.0, self.trained["extra"](torch.ones(1, 1)).square().mean())
        return sums.loss()


class ConstantRole(Role):
    depth_m: float = 10.0

    def objective(self, model):
        return Constant(model, self.depth_m)

    def check(self, model, data):
        if not model.min_depth_m < self.depth_m < model.max_depth_m:
            raise ValueError(f"role.depth_m: {self.depth_m} is outside the network's depths")

    def card_words(self, data):
        return f"It learned {self.depth_m:g} m."


class Softer(TeacherRole):
    """A built-in role with another description."""

    def card_words(self, data):
        return "A softer teacher."


class NotARole:
    pass


class Unfinished(Role):
    pass


def preset():
    tiny = lidar_teacher(num_steps=2, report_every=1)
    rates = tiny.optimiser.model_copy(update={"lr": tiny.optimiser.lr | {"extra": 1e-3}})
    role = ConstantRole(depth_m=7.0, frozen=("encoder",))
    return checked(tiny.model_copy(update={"role": role, "optimiser": rates}))
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module my_roles on the path."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "my_roles.py").write_text(MODULE)
    (tmp_path / "path" / "broken_roles.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path / "path")
    monkeypatch.delitem(sys.modules, "my_roles", raising=False)
    return "my_roles"


def with_role(**role: Any) -> TrainConfig:
    """A run from plain data, as a file holds it."""
    fields = lidar_teacher().model_dump(mode="json")
    return TrainConfig.model_validate(fields | {"role": role})


def test_a_role_of_another_package_trains(package: str, tmp_path: Path) -> None:
    root, run = make_dataset(tmp_path / "dataset"), tmp_path / "run"
    job = TrainJob(preset=f"{package}:preset", dataset=root, out=run, device="cpu", seed=3)
    report = train_network(job, stop=Stop())
    assert report.status == "finished" and report.step == 2
    stored = read_record(run / "run.json", "run", "run")["config"]["role"]
    assert stored == {"kind": f"{package}:ConstantRole", "frozen": ["encoder"], "depth_m": 7.0}
    tensors, lines = outcome(run)
    assert [line["step"] for line in lines] == [1, 2] and lines[0]["constant"] > 0
    assert "networks.extra.weight" in tensors and (run / "extra" / "weight.txt").exists()
    assert read_card(run / "model").description == "It learned 7 m."
    assert DepthModel.from_pretrained(run / "model").digest == report.digest
    assert train_network(job, stop=Stop()).status == "already"


def test_a_role_is_read_back_from_plain_data(package: str) -> None:
    config = with_role(kind=f"{package}:ConstantRole", depth_m=3.0)
    assert config.role.kind() == f"{package}:ConstantRole"
    again = TrainConfig.model_validate_json(config.model_dump_json())
    assert again == config and type(again.role) is type(config.role)
    assert with_role(kind="teacher", supervision="lidar").role.kind() == "teacher"
    softer = with_role(kind=f"{package}:Softer", supervision="lidar")  # not its base's name
    assert softer.role.model_dump()["kind"] == f"{package}:Softer"


@pytest.mark.parametrize(
    ("role", "message"),
    [
        ({}, "a role needs a `kind`: one of teacher, student, restorer"),
        ({"kind": "tutor"}, "found role 'tutor', expected one of teacher, student, restorer"),
        ({"kind": "my_roles:NotARole"}, "is not a subclass of .*Role"),
        ({"kind": "my_roles:Unfinished"}, "does not define card_words, objective"),
        ({"kind": "my_roles:Nothing"}, "has no Nothing, only"),
        ({"kind": "no_such_package:Role"}, "the module no_such_package cannot be imported"),
        ({"kind": "broken_roles:Role"}, "cannot be imported .ZeroDivisionError"),
        ({"kind": "my_roles:ConstantRole", "depth_m": 500.0}, r"role\.depth_m: 500\.0 is outside"),
        ({"kind": "my_roles:ConstantRole", "deep_m": 5.0}, "deep_m"),
    ],
)
def test_what_is_no_role_is_refused_before_anything_runs(
    package: str, role: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        with_role(**role)


@pytest.mark.parametrize(
    ("preset", "message"),
    [
        ("my_roles:nothing", "cannot be imported"),
        ("broken_roles:preset", "cannot be imported: division by zero"),
        ("my_roles:NotARole", "returned NotARole; expected a TrainConfig"),
    ],
)
def test_what_is_no_preset_is_refused(package: str, preset: str, message: str) -> None:
    job = TrainJob(preset=preset, dataset=Path("d"), out=Path("r"))
    with pytest.raises(InvalidRequest, match=message):
        job.config()
