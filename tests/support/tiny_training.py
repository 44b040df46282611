"""Training runs of a few thousand weights on ten small frames, a few milliseconds a step."""

from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from nightrain.datasets.loader.config import TrainingSetConfig
from nightrain.depthmodel.config import PoseConfig
from nightrain.depthmodel.losses.mixtures import StudentLoss
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.roles.restorer import RestorerRole
from nightrain.depthmodel.roles.student import StudentRole
from nightrain.depthmodel.roles.teacher import LIDAR_LOSS, TeacherRole
from nightrain.depthmodel.training.checkpoint import checkpoints, load_checkpoint
from nightrain.depthmodel.training.config import TrainConfig
from nightrain.depthmodel.training.loop import TrainReport, train
from nightrain.depthmodel.training.metrics_log import read_metrics
from nightrain.depthmodel.training.optimiser import OptimiserConfig
from support.synthetic import SIZE, ingest_synthetic
from support.tiny_depth_models import tiny_config
from support.training import NeighbourSource, add_labels

POSE = PoseConfig(size="test", hidden_channels=4)
RATES = OptimiserConfig(lr={"encoder": 1e-3, "decoder": 1e-3, "pose": 1e-3}, num_warmup_steps=2)


def make_dataset(root: Path, num_frames: int = 10) -> Path:
    ingest_synthetic(root, NeighbourSource(num_frames), frames_per_shard=4)
    return root


def data(**changes: Any) -> TrainingSetConfig:
    fields = {"input_size": SIZE, "loss_size": SIZE, "lidar_depth": False} | changes
    return TrainingSetConfig.model_validate(fields)


def run_config(role: TeacherRole | StudentRole | RestorerRole, **changes: Any) -> TrainConfig:
    """Ten frames in batches of 3: an epoch has 3 steps, and a run 4 epochs."""
    fields: dict[str, Any] = {
        "name": "tiny",
        "role": role,
        "model": tiny_config(input_size=SIZE),
        "data": data(neighbours=True),
        "optimiser": RATES,
        "num_steps": 12,
        "batch_size": 3,
        "precision": "float32",
        "report_every": 2,
        "checkpoint_every": 4,
        "average_decay": 0.9,
    }
    return TrainConfig(**fields | changes)


def video_teacher(**changes: Any) -> TrainConfig:
    return run_config(TeacherRole(poses="network", pose=POSE), **changes)


def lidar_teacher(**changes: Any) -> TrainConfig:
    role = TeacherRole(supervision="lidar", loss=LIDAR_LOSS)
    return run_config(role, **{"data": data(lidar_depth=True)} | changes)


def student(role: dict[str, Any] | None = None, **changes: Any) -> TrainConfig:
    """A student of labels/tiny without a teacher's network, unless `role` names one."""
    fields = {"loss": StudentLoss(semantic=0.0), "num_unmasked_epochs": 0} | (role or {})
    shown = {"data": data(labels="tiny", neighbours=True)}
    return run_config(StudentRole(**fields), **shown | changes)


def train_tiny(config: TrainConfig, dataset: Path, run: Path, **watchers: Any) -> TrainReport:
    return train(config, dataset, run, device="cpu", **watchers)


def label_as(root: Path, teacher: Path) -> None:
    """Labels in labels/tiny that say that this teacher made them."""
    digest = DepthModel.from_pretrained(teacher).digest
    add_labels(root, change=lambda _, rows: [r | {"teacher_sha256": digest} for r in rows])


def outcome(run: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """All tensors of a run's last checkpoint and model, and its metrics but for the timings."""
    last = load_checkpoint(checkpoints(run / "checkpoints")[-1])
    tensors = {f"{part}.{k}": t for part, ts in last.parts.items() for k, t in ts.items()}
    for file in sorted(run.glob("*/model.safetensors")):
        tensors |= {f"{file.parent.name}.{k}": t for k, t in load_file(file).items()}
    lines = [{k: v for k, v in m.items() if k != "samples_per_s"} for m in read_metrics(run)]
    return tensors | {"step": last.step}, lines
