"""Training jobs: presets with a dataset's tables, what does not fit together, the whole chain."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.record import read_record
from nightrain.datasets.shards.manifest import Manifest
from nightrain.depthmodel.losses.mixtures import StudentLoss
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.network.model_card import ModelCard, read_card
from nightrain.depthmodel.roles.restorer import RestorerRole
from nightrain.depthmodel.roles.student import StudentRole
from nightrain.depthmodel.roles.teacher import TeacherRole
from nightrain.depthmodel.training.preset_registry import PRESETS, load_preset
from nightrain.pipelines.depth.train_job import (
    TrainJob,
    labels_folder,
    train_network,
    variant_folders,
)
from nightrain.pipelines.labels.job import LabelJob, label
from nightrain.pipelines.recipes.recipe import Recipe
from nightrain.pipelines.runs.executors import SerialExecutor
from nightrain.pipelines.runs.stop import Stop
from support.synthetic import SIZE, recipe
from support.tiny_depth_models import tiny_model
from support.tiny_training import data, lidar_teacher, make_dataset, run_config
from support.training import add_labels, add_variants

CARD = ModelCard(title="tiny", description="For tests.", data_set="none")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_dataset(tmp_path_factory.mktemp("jobs") / "dataset")
    add_variants(root, recipe())
    add_labels(root)
    return root


@pytest.fixture(autouse=True)
def tiny_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    role = StudentRole(start="teacher", num_unmasked_epochs=0, loss=StudentLoss())
    neighbours = data(neighbours=True)
    # As a preset has it: checked when labels and folders are put in.
    tiny = run_config(TeacherRole(), data=neighbours).model_copy(update={"role": role})
    monkeypatch.setitem(PRESETS, "world-student", lambda: tiny)
    monkeypatch.setitem(PRESETS, "world-lidar-teacher", lidar_teacher)


def job(root: Path, preset: str = "world-student", **changes: Any) -> TrainJob:
    fields = {"preset": preset, "dataset": root, "out": root.parent / "run"} | changes
    return TrainJob(**fields)


def test_every_preset_is_a_run_of_its_name() -> None:
    assert set(PRESETS) >= {"world-teacher", "paper-teacher", "paper-student"}
    for name in ("world-teacher", "paper-teacher", "paper-student"):
        assert load_preset(name).name == name


def test_a_job_puts_labels_variants_and_numbers_into_the_preset(root: Path) -> None:
    config = job(
        root,
        variants=("test",),
        teacher=root.parent / "teacher",
        steps=3,
        batch_size=2,
        workers=1,
        seed=9,
    ).config()
    assert config.data.labels == "tiny" and config.data.recipes == folders(recipe())
    assert (config.num_steps, config.batch_size, config.num_workers, config.seed) == (3, 2, 1, 9)
    assert isinstance(config.role, StudentRole)
    assert config.role.teacher == (root.parent / "teacher").resolve()
    assert job(root, "world-lidar-teacher").config().num_steps == lidar_teacher().num_steps


def test_variants_without_control_are_trained_on_when_the_job_includes_them(root: Path) -> None:
    given: dict[str, Any] = {"variants": ("test",), "teacher": root.parent / "t"}
    plain, including = job(root, **given), job(root, include_uncontrolled=True, **given)
    assert not plain.config().data.include_uncontrolled
    assert including.config().data.include_uncontrolled
    assert "--include-uncontrolled" in including.command.split()
    assert "--include-uncontrolled" not in plain.command


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "moon-teacher"}, "no preset 'moon-teacher'; choose one of demo-teacher"),
        (
            {"preset": "world-lidar-teacher", "variants": ("test",)},
            "trains a teacher, which does not accept --variants",
        ),
        ({"preset": "world-lidar-teacher", "labels": "tiny"}, "does not accept --labels"),
        ({}, "role.teacher: to start from a teacher, name its folder"),
        ({"variants": ("fog",)}, "no variants called 'fog'. Recipes: test; folders: weather-"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    root: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        job(root, **changes).config()


def test_labels_of_none_or_two_teachers_must_be_named(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "dataset", num_frames=4)
    with pytest.raises(InvalidRequest, match=r"labels of 0 teachers \(none\).*nightrain label"):
        labels_folder(root)
    add_labels(root, "first")
    assert labels_folder(root) == "first"
    add_labels(root, "second")
    with pytest.raises(
        InvalidRequest, match=r"2 teachers \(first, second: name one with --labels\)"
    ):
        labels_folder(root)


def test_labels_are_named_with_or_without_their_hash(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "dataset", num_frames=4)
    for folder in ("road-1a2b3c4d", "rain-1a2b3c4d", "rain-5e6f7a8b"):
        add_labels(root, folder)
    assert labels_folder(root, "road") == labels_folder(root, "road-1a2b3c4d") == "road-1a2b3c4d"
    for wrong, words in (("rain", "has 2 labels 'rain'"), ("ro", "has no labels 'ro'")):
        with pytest.raises(InvalidRequest, match=words):
            labels_folder(root, wrong)


def folders(recipe: Recipe) -> tuple[str, ...]:
    return tuple(map(recipe.folder_of, recipe.conditions))


def test_variants_are_found_by_recipe_folder_or_hash(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "dataset", num_frames=4)
    one, other = recipe(), recipe(Condition.NIGHT, jpeg_quality=80)
    add_variants(root, one)
    assert variant_folders(root, "test") == folders(one)
    (night,) = folders(other)
    with pytest.raises(InvalidRequest, match=f"no variants called '{night}'. Recipes: test; fold"):
        variant_folders(root, night)
    add_variants(root, other)
    assert variant_folders(root, "test") == variant_folders(root, night) == (night,)
    assert variant_folders(root, one.hash_of(Condition.FOG)) == folders(one)[1:]


def test_a_command_says_all_that_decides_and_no_path_of_this_machine(root: Path) -> None:
    asked = job(root, variants=("test",), teacher=root.parent / "t", steps=3, batch_size=2)
    assert asked.command == (
        "nightrain train world-student dataset --out run --variants test --teacher t --steps 3 "
        "--batch-size 2"
    )


def test_teacher_labels_student(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "dataset")
    add_variants(root, recipe())
    teaching = job(root, "world-lidar-teacher", out=tmp_path / "teacher", steps=3)
    assert train_network(teaching, stop=Stop()).status == "finished"
    model, stop = tmp_path / "teacher/model", Stop()
    labelling = LabelJob(dataset=root, teacher=model, device="cpu")
    report = label(labelling, executor=SerialExecutor(stop), stop=stop)
    assert report.num_rows == 10
    (table,) = Manifest(root).tables("labels/")
    learning = job(root, out=tmp_path / "student", teacher=model, variants=("test",), steps=6)
    steps: list[tuple[int, int]] = []
    report = train_network(learning, stop=Stop(), on_step=lambda *done: steps.append(done))
    assert report.status == "finished" and steps == [(k, 6) for k in range(1, 7)]
    assert report.digest == DepthModel.from_pretrained(tmp_path / "student/model").digest
    card = read_card(tmp_path / "student/model")
    assert card.recipe == ", ".join(t.removeprefix("variants/") for t in recipe().tables)
    assert table.removeprefix("labels/") in card.description
    assert card.command == learning.command and str(tmp_path) not in card.model_dump_json()
    asked = read_record(tmp_path / "student/run.json", "run", "run")
    assert asked["teacher"] == DepthModel.from_pretrained(model).digest
    assert str(tmp_path) not in json.dumps(asked)
    again = train_network(learning, stop=Stop())
    assert again.status == "already" and again.digest == report.digest


def test_a_stop_ends_a_run_after_the_step_in_hand(root: Path, tmp_path: Path) -> None:
    stop, asked = Stop(), job(root, "world-lidar-teacher", out=tmp_path / "run")
    report = train_network(
        asked, stop=stop, on_step=lambda done, _: stop.request() if done == 5 else None
    )
    assert report.stopped and report.step == 5
    assert train_network(asked, stop=Stop()).step == 12


def test_a_restorer_starts_from_a_base_and_nobody_else_does(root: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    tiny_model(seed=5, input_size=SIZE).save_pretrained(base, CARD)
    job = TrainJob(preset="world-base", dataset=root, out=tmp_path / "run", base=base)
    role = job.config().role
    assert isinstance(role, RestorerRole) and role.base == base
    assert " --base base" in job.command
    with pytest.raises(InvalidRequest, match="does not accept --base"):
        job.model_copy(update={"preset": "world-lidar-teacher"}).config()
    with pytest.raises(InvalidRequest, match="does not accept --labels; it accepts --base"):
        job.model_copy(update={"labels": "tiny"}).config()


@pytest.mark.parametrize(
    "name", [n for n in PRESETS if n.endswith(("-base", "-restoration", "-stereo"))]
)
def test_restoring_presets_are_assembled_at_their_size(name: str) -> None:
    config = load_preset(name)
    assert config.name == name
    width, height = config.model.input_size
    model = config.model.without_pretrained()
    with torch.device("meta"):
        network = DepthModel(model)
        network.freeze(config.role.frozen if isinstance(config.role, RestorerRole) else ())
        prediction = network.train()(torch.zeros(1, 3, height, width))
    assert prediction.inverse_depth.shape == (1, 1, height, width)
    assert any(parameter.requires_grad for parameter in network.parameters())
