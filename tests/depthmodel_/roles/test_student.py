"""Students in the loop: masks, the semantic loss and its frozen encoder, starts, exact targets."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.config import RestorationConfig
from nightrain.depthmodel.losses.mixtures import StudentLoss
from nightrain.depthmodel.losses.object_regions import object_regions
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.network.model_card import ModelCard
from nightrain.depthmodel.network.pose import PoseNet
from nightrain.depthmodel.network.presets import DINOV2_BASE
from nightrain.depthmodel.roles.student import StudentObjective, StudentRole
from nightrain.depthmodel.training.config import TrainConfig
from nightrain.depthmodel.training.loop import make_accelerator
from nightrain.depthmodel.training.metrics_log import read_metrics
from nightrain.depthmodel.training.optimiser import OptimiserConfig
from nightrain.depthmodel.training.preset_registry import load_preset
from nightrain.depthmodel.training.trainer import Trainer
from nightrain.depthmodel.weights import Weights
from support.synthetic import SIZE, recipe
from support.tiny_depth_models import published, tiny_config, tiny_model
from support.tiny_training import (
    POSE,
    data,
    label_as,
    lidar_teacher,
    make_dataset,
    student,
    train_tiny,
)
from support.training import add_labels, add_variants

CARD = ModelCard(title="tiny", description="For tests.", data_set="none")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames, variants, a teacher in ROOT/../teacher and its labels."""
    root = make_dataset(tmp_path_factory.mktemp("student") / "dataset")
    add_variants(root, recipe())
    tiny_model(seed=5, input_size=SIZE).save_pretrained(root.parent / "teacher", CARD)
    label_as(root, root.parent / "teacher")
    return root


@pytest.fixture(scope="module")
def teacher(root: Path) -> Path:
    return root.parent / "teacher"


def begin(config: Any, root: Path, run: Path) -> Trainer:
    return Trainer(config, root, run, make_accelerator(config, "cpu"))


def student_of(trainer: Trainer) -> StudentObjective:
    assert isinstance(trainer.objective, StudentObjective)
    return trainer.objective


def test_masks_choose_pixels_after_the_epochs_without_one(root: Path, tmp_path: Path) -> None:
    supervised = {}
    for mode in ("reliable", "printed", "none"):
        loss = StudentLoss(semantic=0.0, mask_mode=mode)
        config = student({"loss": loss, "num_unmasked_epochs": 1})
        trainer = begin(config, root, tmp_path / mode)
        batch = next(trainer._batches)
        shares = [trainer.objective(batch, epoch).statistics["supervised"] for epoch in (0, 1)]
        assert shares[0] == 1  # every pixel has a label
        supervised[mode] = float(shares[1])
    assert supervised["none"] == 1 and 0 < supervised["reliable"] < 1
    assert 0 < supervised["printed"] < 1
    # Each pixel that can be compared belongs to one of the two, each other one to both.
    assert 1 <= supervised["reliable"] + supervised["printed"] < 2


@pytest.mark.parametrize("mode", ["reliable", "printed", "none"])
def test_a_student_trains_in_every_mask_mode(root: Path, tmp_path: Path, mode: Any) -> None:
    neighbours = mode != "none"
    config = student(
        {"loss": StudentLoss(semantic=0.0, mask_mode=mode)},
        data=data(labels="tiny", neighbours=neighbours),
        num_steps=4,
    )
    assert train_tiny(config, root, tmp_path / "run").status == "finished"
    line = read_metrics(tmp_path / "run")[-1]
    assert line["loss"] == pytest.approx(line["distillation"]) and line["gradient_norm"] > 0
    assert "semantic" not in line


def test_the_frozen_encoder_stays_as_it_is(root: Path, teacher: Path, tmp_path: Path) -> None:
    config = student({"teacher": teacher, "loss": StudentLoss(semantic=0.5)})
    trainer = begin(config, root, tmp_path / "run")
    reference = student_of(trainer).reference
    assert reference is not None
    before = DepthModel.from_pretrained(teacher).state_dict()  # batch norm's statistics, too
    trained = trainer.objective.model.state_dict()["decoder.logit.weight"].clone()
    for _ in range(4):
        trainer.do_step()
    assert not reference.training and trainer.objective.model.training
    for name, tensor in reference.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert not torch.equal(trained, trainer.objective.model.state_dict()["decoder.logit.weight"])
    assert not {id(p) for p in reference.parameters()} & {id(p) for p in trainer._parameters}
    saved = trainer.weights()
    assert all(name.startswith("depth.") for name in saved) and len(saved) == len(before)
    trainer.close()


def test_the_semantic_loss_is_in_the_sum(root: Path, teacher: Path, tmp_path: Path) -> None:
    loss = StudentLoss(semantic=0.5)
    train_tiny(student({"teacher": teacher, "loss": loss}, num_steps=2), root, tmp_path / "run")
    (line,) = read_metrics(tmp_path / "run")
    assert line["semantic"] > 0
    assert line["loss"] == pytest.approx(line["distillation"] + 0.5 * line["semantic"], rel=1e-5)


def test_a_reference_of_its_own_leaves_the_start_as_it_was(tmp_path: Path) -> None:
    encoder = Weights(str(published(tmp_path / "encoder", "resnet")))
    starts, references = [], []
    for role in (
        {"loss": StudentLoss(semantic=0.0)},
        {"loss": StudentLoss(semantic=0.5), "reference": encoder},
    ):
        torch.manual_seed(3)
        made = student(role).objective()
        assert isinstance(made, StudentObjective)
        starts.append(made.model.state_dict())
        references += [made.reference] if made.reference else []
    assert all(torch.equal(starts[0][name], starts[1][name]) for name in starts[0])
    assert references[0].encoder_name != "random"


def test_a_start_from_the_teacher_copies_its_weights(teacher: Path) -> None:
    loss = StudentLoss(semantic=0.0)
    made = student({"teacher": teacher, "start": "teacher", "loss": loss}).objective()
    expected = DepthModel.from_pretrained(teacher).state_dict()
    found = made.model.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    fresh = student({"teacher": teacher, "loss": loss}).objective().model.state_dict()
    assert not torch.equal(fresh["decoder.logit.weight"], expected["decoder.logit.weight"])


@pytest.mark.parametrize(
    ("role", "model", "message"),
    [
        ({"start": "teacher"}, {"kind": "convnext"}, r"To start from the teacher.* its encoder"),
        ({"start": "teacher"}, {"max_depth_m": 60.0}, r"its max_depth_m is 80.0, expected 60"),
        (
            {"loss": StudentLoss()},
            {"kind": "convnext"},
            r"For the semantic.*'resnet'",
        ),
    ],
)
def test_a_teacher_of_another_architecture_is_refused(
    teacher: Path, role: dict[str, Any], model: dict[str, Any], message: str
) -> None:
    config = student({"teacher": teacher} | role, model=tiny_config(input_size=SIZE, **model))
    with pytest.raises(InvalidRequest, match=message):
        config.objective()


def test_a_semantic_loss_without_an_encoder_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="need a frozen encoder"):
        student({"loss": StudentLoss(semantic=0.1)}).objective()


def test_labels_of_another_teacher_are_refused(root: Path, tmp_path: Path) -> None:
    tiny_model(seed=6, input_size=SIZE).save_pretrained(tmp_path / "other", CARD)
    with pytest.raises(
        InvalidRequest, match=r"labels/tiny are of the teacher [0-9a-f]{16}, but .*other"
    ):
        train_tiny(student({"teacher": tmp_path / "other"}), root, tmp_path / "run")


def test_a_teacher_that_changed_is_another_run(root: Path, teacher: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    DepthModel.from_pretrained(teacher).save_pretrained(moved, CARD)
    run = tmp_path / "run"
    assert train_tiny(student({"teacher": teacher}, num_steps=1), root, run).status == "finished"
    assert train_tiny(student({"teacher": moved}, num_steps=1), root, run).status == "already"
    tiny_model(seed=6, input_size=SIZE).save_pretrained(moved, CARD)
    with pytest.raises(InvalidRequest, match=r"teacher was [0-9a-f]{16}, is [0-9a-f]{16}"):
        train_tiny(student({"teacher": moved}, num_steps=1), root, run)


def test_labels_that_were_made_again_are_other_data(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "dataset")
    add_labels(root)
    train_tiny(student(num_steps=1), root, tmp_path / "run")
    for path in (root / "labels/tiny").rglob("*"):
        path.unlink()
    for path in (root / "_manifest/labels/tiny").rglob("*"):
        path.unlink()
    add_labels(root, change=lambda _, rows: [r | {"teacher_sha256": "def"} for r in rows])
    with pytest.raises(InvalidRequest, match=r"tables\.labels/tiny was"):
        train_tiny(student(num_steps=1), root, tmp_path / "run")


def test_frames_without_label_are_left_out_and_counted(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "dataset")
    add_labels(root, reject=(1,))  # the second of each of the three shards
    report = train_tiny(student(num_steps=2), root, tmp_path / "run")
    assert (report.num_frames, report.num_without_label) == (7, 3)
    assert "3 frames without label skipped" in report.line


def test_the_true_depth_is_a_target_without_labels(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "dataset", num_frames=3)
    shown = data(exact_depth=True).model_copy(update={"augmentation": None})
    loss = StudentLoss(semantic=0.0, mask_mode="none")
    config = student(
        {"target": "exact", "loss": loss}, data=shown, num_steps=60, report_every=1, seed=1
    )
    trainer = begin(config, root, tmp_path / "batch")
    batch = next(trainer._batches)
    known = batch["exact_depth_m"] > 0
    found = trainer.objective(batch, 0)
    expected_m = batch["exact_depth_m"][known]
    depth_m = trainer.objective.model(batch["image"]).depth_m[:, 0][known].detach()
    # |1/D_S - 1/D_T| D_S = |D_S - D_T| / D_T over the pixels whose depth is known.
    expected = float(((depth_m - expected_m).abs() / expected_m).mean())
    assert float(found.parts["distillation"]) == pytest.approx(expected, rel=1e-4)
    train_tiny(config, root, tmp_path / "run")
    losses = [line["loss"] for line in read_metrics(tmp_path / "run")]
    assert losses[-1] < 0.6 * losses[0], losses


def test_a_student_of_a_teacher_that_was_trained_here(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "dataset")
    train_tiny(lidar_teacher(num_steps=2), root, tmp_path / "teacher")
    add_variants(root, recipe())
    model = tmp_path / "teacher/model"
    label_as(root, model)
    config = student(
        {"teacher": model, "start": "teacher", "loss": StudentLoss()},
        data=data(labels="tiny", neighbours=True, recipes=(recipe().name,)),
        num_steps=6,
    )
    report = train_tiny(config, root, tmp_path / "run")
    assert report.status == "finished" and report.digest != DepthModel.from_pretrained(model).digest


RESTORING = {"restoration": RestorationConfig(base_channels=8, multipliers=(1, 2), num_blocks=1)}


def restoring(teacher: Path, loss: StudentLoss) -> TrainConfig:
    role = {"teacher": teacher, "start": "teacher", "frozen": ("encoder", "decoder"), "loss": loss}
    rates = OptimiserConfig(lr={n: 1e-2 for n in ("encoder", "decoder", "restoration")})
    model = tiny_config(input_size=SIZE, **RESTORING)
    return student(role, model=model, optimiser=rates)


def test_a_restoring_student_starts_as_its_teacher_and_learns_clear_features(
    root: Path, teacher: Path, tmp_path: Path
) -> None:
    loss = StudentLoss(distillation=0.0, semantic=0.0, feature=1.0, mask_mode="none")
    config = restoring(teacher, loss)
    recipes = (recipe().name,)
    config = config.model_copy(
        update={"data": config.data.model_copy(update={"recipes": recipes, "p_clear": 0.0})}
    )
    trainer = begin(config, root, tmp_path / "run")
    objective = student_of(trainer)
    image = torch.rand(2, 3, SIZE[1], SIZE[0])
    wanted = DepthModel.from_pretrained(teacher)(image).inverse_depth
    assert torch.equal(objective.model.eval()(image).inverse_depth, wanted)
    batch = next(trainer._batches)
    assert bool(batch["is_variant"].all())
    errors = []
    optimizer = torch.optim.Adam(objective.model.parameters(), lr=1e-2)
    objective.train()
    for _ in range(30):
        torch.manual_seed(0)  # the same steps of the chain and the same noise each time
        loss_now = objective(batch, 0)
        errors.append(float(loss_now.parts["feature"]))
        optimizer.zero_grad()
        loss_now.total.backward()
        optimizer.step()
    assert errors[-1] < 0.7 * errors[0]
    frozen = [p for n, p in objective.model.named_parameters() if not n.startswith("restoration")]
    assert all(p.grad is None for p in frozen)


def test_the_feature_loss_needs_a_restoring_network_and_a_reference(
    root: Path, teacher: Path, tmp_path: Path
) -> None:
    loss = StudentLoss(semantic=0.0, feature=1.0, mask_mode="none")
    with pytest.raises(ValidationError, match=r"role\.loss\.feature"):
        student({"teacher": teacher, "loss": loss})
    config = restoring(teacher, loss)
    role = config.role.model_copy(update={"teacher": None, "start": "configured"})
    with pytest.raises(InvalidRequest, match="need a frozen encoder"):
        begin(config.model_copy(update={"role": role}), root, tmp_path / "run")


def test_masks_over_objects_differ_from_masks_over_pixels(root: Path, tmp_path: Path) -> None:
    """Both errors are averaged over parts of the labels' depth, a ramp with steps at its near end.

    Pixels that no part holds keep their own errors.
    """
    masks = {}
    for over in ("pixels", "objects"):
        config = student({"loss": StudentLoss(semantic=0.0, mask_over=over)})
        trainer = begin(config, root, tmp_path / over)
        batch = next(trainer._batches)
        inverse_depth = trainer.objective.model(batch["image"]).inverse_depth
        mask = student_of(trainer)._mask(batch, inverse_depth, 1)
        assert mask is not None
        masks[over] = mask
    regions = object_regions(batch["label_depth_m"][:, None])
    assert not torch.equal(masks["pixels"], masks["objects"])
    own = regions == 0
    assert torch.equal(masks["pixels"][own], masks["objects"][own])
    for image, mask in zip(regions, masks["objects"], strict=True):
        values = [mask[image == number] for number in image.unique() if number > 0]
        # pixels that no neighbour sees cannot be compared and are kept
        assert values and any(bool((~v).sum() > len(v) // 2) or bool(v.all()) for v in values)


def test_the_mask_takes_the_poses_of_the_teachers_pose_network(
    root: Path, teacher: Path, tmp_path: Path
) -> None:
    role = {"loss": StudentLoss(semantic=0.0), "mask_poses": "teacher", "teacher": teacher}
    with pytest.raises(InvalidRequest, match="does not exist: the teacher was trained with rec"):
        begin(student(role), root, tmp_path / "run")
    network = PoseNet(POSE)
    torch.nn.init.normal_(network.head[-1].weight, std=0.1)
    network.save_pretrained(teacher.parent / "pose")
    trainer = begin(student(role), root, tmp_path / "run")
    batch = next(trainer._batches)
    found = student_of(trainer)._poses(batch)
    expected = PoseNet.from_pretrained(teacher.parent / "pose")
    with torch.no_grad():
        for side in ("previous", "next"):
            assert torch.equal(found[side], expected(batch["target"], batch[side]))
            assert not torch.equal(found[side], batch[f"T_{side}_camera"])
    assert not any(p is q for p in expected.parameters() for q in trainer._parameters)
    trainer.do_step()
    with pytest.raises(ValidationError, match=r"role\.mask_poses: .*name the teacher's folder"):
        student({"mask_poses": "teacher", "loss": StudentLoss(semantic=0.0)})


def test_the_printed_students_settings() -> None:
    role = load_preset("paper-student").role
    assert isinstance(role, StudentRole)
    assert role.reference == DINOV2_BASE and role.mask_poses == "teacher"
    assert not role.loss.confidence and role.start == "configured"
    ours = load_preset("student").role
    assert isinstance(ours, StudentRole) and ours.loss.confidence and ours.start == "teacher"
