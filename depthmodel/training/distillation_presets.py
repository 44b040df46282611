"""Training presets of teachers and students: each docstring begins with the command to run.

The command adds labels, variants and model folders. Published settings are those of SSD and md4all
(docs/papers/ssd.md, docs/papers/md4all.md); the others are our choice.
"""

from dataclasses import replace

from nightrain.datasets.conditions import Condition
from nightrain.datasets.loader.config import TrainingSetConfig
from nightrain.depthmodel.config import RestorationConfig
from nightrain.depthmodel.losses.mixtures import StudentLoss
from nightrain.depthmodel.network.presets import (
    DINOV2_BASE,
    paper_depth,
    paper_pose,
    world_depth,
    world_pose,
)
from nightrain.depthmodel.roles.student import StudentRole
from nightrain.depthmodel.roles.teacher import LIDAR_LOSS, TeacherRole
from nightrain.depthmodel.training.config import TrainConfig
from nightrain.depthmodel.training.optimiser import OptimiserConfig
from nightrain.depthmodel.training.restoration_presets import (
    at_size,
    world_restoration_network,
)

PAPER_LOSS_SIZE, SMALL_SIZE = (576, 320), (192, 112)
PAPER_FRAMES = 15_129  # clear train frames of nuScenes, by md4all's filter
PAPER_STEPS = 20 * PAPER_FRAMES // 4  # 20 epochs at a batch of 4


def paper_teacher() -> TrainConfig:
    """nightrain train paper-teacher DATASET --out RUN.

    SSD-T: video, a pose network and the velocity loss (md4all, eq. 9, docs/papers/md4all.md), at
    the paper's sizes and number of steps. Needs a GPU; we have no results yet.
    """
    return TrainConfig(
        name="paper-teacher",
        role=TeacherRole(poses="network", pose=paper_pose()),
        model=paper_depth(),
        data=TrainingSetConfig(
            input_size=paper_depth().input_size,
            loss_size=PAPER_LOSS_SIZE,
            neighbours=True,
            lidar_depth=False,
        ),
        num_steps=PAPER_STEPS,
        batch_size=4,
        num_workers=4,
        compile=True,
        checkpoint_every=1000,
        pictures_every=5000,
    )


def paper_student() -> TrainConfig:
    """nightrain train paper-student DATASET --labels L --variants R --teacher T --out RUN.

    SSD's student as printed (docs/papers/ssd.md), for as many steps as the teacher: the semantic
    loss follows the frozen pretrained DINOv2 (eq. 7), the mask takes its poses from the teacher's
    frozen pose network (eq. 4), and labels have no confidence. Needs a GPU; we have no results yet.
    """
    role = StudentRole(
        reference=DINOV2_BASE, mask_poses="teacher", loss=StudentLoss(confidence=False)
    )
    return paper_teacher().model_copy(update={"name": "paper-student", "role": role})


def student() -> TrainConfig:
    """nightrain train student DATASET --labels L --variants R --teacher T --out RUN.

    The same network as we would train it: it starts from the teacher, for a quarter of its steps;
    the mask uses recorded poses, and the labels' confidence weights the distillation. Needs a GPU;
    we have no results yet.
    """
    update = {
        "name": "student",
        "role": StudentRole(start="teacher"),
        "num_steps": PAPER_STEPS // 4,
    }
    return paper_teacher().model_copy(update=update)


def world_teacher() -> TrainConfig:
    """nightrain train world-teacher DATASET --out RUN.

    Video and recorded poses, on CPU cores. Results: docs/studies/usefulness.md.
    """
    model = world_depth()
    return TrainConfig(
        name="world-teacher",
        role=TeacherRole(pose=world_pose()),
        model=model,
        data=TrainingSetConfig(
            input_size=model.input_size,
            loss_size=model.input_size,
            neighbours=True,
            lidar_depth=False,
        ),
        optimiser=OptimiserConfig(
            lr={"encoder": 1e-3, "decoder": 1e-3, "pose": 2e-4}, num_warmup_steps=200
        ),
        num_steps=4000,
        batch_size=8,
        precision="float32",
        pictures_every=500,
    )


def world_lidar_teacher() -> TrainConfig:
    """nightrain train world-lidar-teacher DATASET --out RUN.

    The same network with LiDAR depth as its target, which takes half of the steps. Results:
    docs/studies/usefulness.md.
    """
    video = world_teacher()
    data = video.data.model_copy(update={"neighbours": False, "lidar_depth": True})
    role = TeacherRole(supervision="lidar", loss=LIDAR_LOSS)
    update = {"name": "world-lidar-teacher", "role": role, "data": data, "num_steps": 2000}
    return video.model_copy(update=update)


def real_overfit() -> TrainConfig:
    """nightrain train real-overfit DATASET --out RUN.

    Overfits a few real frames with LiDAR, to test the supervised path: no augmentation, no average
    of weights. On the 6 nuScenes and 9 KITTI frames of tests/real/test_real_depth.py it reaches
    abs_rel 0.09 on its training frames, in half a minute on one core.
    """
    teacher = at_size(world_lidar_teacher(), "real-overfit", SMALL_SIZE)
    rates = {"encoder": 1e-3, "decoder": 1e-3, "pose": 1e-3}
    return teacher.model_copy(
        update={
            "data": teacher.data.model_copy(update={"augmentation": None}),
            "optimiser": OptimiserConfig(lr=rates, num_warmup_steps=10),
            "num_steps": 150,
            "batch_size": 3,
            "average_decay": None,
            "report_every": 25,
            "pictures_every": None,
        }
    )


def world_student() -> TrainConfig:
    """nightrain train world-student DATASET --labels L --variants R --teacher T --out RUN.

    Starts from the teacher's weights, so a quarter of the teacher's steps and a short warm-up
    suffice. Results: docs/studies/usefulness.md.
    """
    video = world_teacher()
    update = {
        "name": "world-student",
        "role": StudentRole(start="teacher", num_unmasked_epochs=1),
        "optimiser": video.optimiser.model_copy(update={"num_warmup_steps": 50}),
        "num_steps": 1000,
    }
    return video.model_copy(update=update)


def world_restoring_student() -> TrainConfig:
    """nightrain train world-restoring-student DATASET --variants R --teacher T --out RUN.

    The teacher's encoder is frozen, and the features of variants are restored to those of the
    clear frame (IID-RDepth, section 7, docs/papers/iid_rdepth.md).
    """
    student = world_student()
    assert isinstance(student.role, StudentRole)
    loss = replace(student.role.loss, feature=1.0, semantic=0.0)
    role = student.role.model_copy(update={"frozen": ("encoder",), "loss": loss})
    restoring = with_restoration(student, world_restoration_network())
    return restoring.model_copy(update={"name": "world-restoring-student", "role": role})


def with_restoration(config: TrainConfig, restoration: RestorationConfig) -> TrainConfig:
    """Add feature restoration to a run's network, with the learning rate of the encoder."""
    optimiser = config.optimiser
    rates = optimiser.lr | {"restoration": optimiser.lr["encoder"]}
    return config.model_copy(
        update={
            "model": config.model.model_copy(update={"restoration": restoration}),
            "optimiser": optimiser.model_copy(update={"lr": rates}),
        }
    )


def demo_teacher() -> TrainConfig:
    """nightrain train demo-teacher DATASET --out RUN.

    The teacher of `nightrain demo`: LiDAR, 70 seconds of CPU time, not yet converged.
    """
    return _short(world_lidar_teacher(), "demo-teacher", 180)


def demo_student() -> TrainConfig:
    """nightrain train demo-student DATASET --variants diffusion-world --teacher T --out RUN.

    The student of `nightrain demo`, on variants of the conditions that the demo is scored under.
    """
    short = _short(world_student(), "demo-student", 110)
    conditions = (Condition.NIGHT, Condition.RAIN)
    data = short.data.model_copy(update={"variant_conditions": conditions})
    return short.model_copy(update={"data": data})


def _short(config: TrainConfig, name: str, num_steps: int) -> TrainConfig:
    """Shorten a run to a few hundred steps on smaller images, with a shorter warm-up."""
    rates = OptimiserConfig(
        lr={"encoder": 1e-3, "decoder": 1e-3, "pose": 2e-4}, num_warmup_steps=30
    )
    update = {"optimiser": rates, "num_steps": num_steps, "pictures_every": 100}
    return at_size(config, name, SMALL_SIZE).model_copy(update=update)
