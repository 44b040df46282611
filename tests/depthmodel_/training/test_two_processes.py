"""Every role in two processes: equal losses and weights in both, one writer, one batch of two."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nightrain.depthmodel.config import AuxViewConfig, RestorationConfig
from nightrain.depthmodel.losses.mixtures import StudentLoss
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.roles.restorer import RestorerRole
from nightrain.depthmodel.training import trainer as trainer_module
from nightrain.depthmodel.training.config import TrainConfig
from nightrain.depthmodel.training.metrics_log import read_metrics
from nightrain.depthmodel.training.optimiser import OptimiserConfig
from nightrain.depthmodel.training.trainer import Trainer
from support.paths import ROOT
from support.processes import DEADLINE_S, free_port, start
from support.synthetic import SIZE, ingest_synthetic, recipe
from support.tiny_depth_models import save_teacher, tiny_config
from support.tiny_training import (
    data,
    label_as,
    lidar_teacher,
    make_dataset,
    run_config,
    student,
    train_tiny,
    video_teacher,
)
from support.training import RectifiedSource, add_variants

pytestmark = [pytest.mark.slow]

SMALL = RestorationConfig(base_channels=8, multipliers=(1,), num_blocks=1)
VIEW = AuxViewConfig(
    max_disparity_px=24.0, descriptor_channels=4, attention_channels=8, attention_window=4
)
RATES = dict.fromkeys(("encoder", "restoration", "decoder", "auxview"), 1e-3)
STAGES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "stage 0": ({}, ("encoder",)),
    "stage 1": ({"restoration": SMALL}, ("encoder",)),
    "stage 2": ({"restoration": SMALL, "auxview": VIEW}, ("encoder", "decoder", "restoration")),
}


def configurations(folder: Path) -> dict[str, TrainConfig]:
    """A run of each role, of two steps of two samples in each process."""
    short: dict[str, Any] = {"num_steps": 2, "batch_size": 2, "report_every": 1}
    loss = StudentLoss(semantic=0.1)
    learning = data(labels="tiny", neighbours=True, recipes=_recipes())
    found = {
        "video": video_teacher(**short),
        "lidar": lidar_teacher(**short),
        "student": student({"teacher": folder / "teacher", "loss": loss}, data=learning, **short),
    }
    for name, (parts, frozen) in STAGES.items():
        found[name] = run_config(
            RestorerRole(frozen=frozen, target="lidar"),
            model=tiny_config(input_size=SIZE, **parts),
            data=data(lidar_depth=True, stereo="auxview" in parts),
            optimiser=OptimiserConfig(lr=RATES, num_warmup_steps=2),
            **short,
        )
    return found


def _recipes() -> tuple[str, ...]:
    return tuple(map(recipe().folder_of, recipe().conditions))


def train_every_role(folder: Path) -> None:
    """Train each role as this rank, and note its losses and the digest of its last weights."""
    noted: dict[str, Any] = {}
    over_ranks, save = trainer_module._over_ranks, Trainer.save
    means: list[float] = []
    weights: list[str] = []

    def note_means(accelerator: Any, values: dict[str, float]) -> dict[str, float]:
        found = over_ranks(accelerator, values)
        means.append(found["loss"])
        return found

    def note_weights(self: Trainer) -> None:
        digest = hashlib.sha256()
        for parameter in self.objective.trained.parameters():
            digest.update(parameter.detach().numpy().tobytes())
        weights.append(digest.hexdigest())
        save(self)

    trainer_module._over_ranks, Trainer.save = note_means, note_weights
    for name, config in configurations(folder).items():
        dataset = folder / ("stereo" if name == "stage 2" else "dataset")
        report = train_tiny(config, dataset, folder / name)
        noted[name] = {"report": report.model_dump(), "loss": means[:], "weights": weights.pop()}
        means.clear()
    rank = os.environ["RANK"]
    (folder / f"rank-{rank}.json").write_text(json.dumps(noted))


def test_every_role_trains_in_two_processes(tmp_path: Path) -> None:
    make_dataset(tmp_path / "dataset")
    add_variants(tmp_path / "dataset", recipe())
    save_teacher(tmp_path / "teacher")
    label_as(tmp_path / "dataset", tmp_path / "teacher")
    ingest_synthetic(tmp_path / "stereo", RectifiedSource(10), frames_per_shard=4)
    together = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    processes = [
        start(train_every_role, tmp_path, environment=together | {"RANK": r, "LOCAL_RANK": r})
        for r in ("0", "1")
    ]
    for process in processes:
        process.join(DEADLINE_S)
    assert [process.exitcode for process in processes] == [0, 0]
    one, two = (json.loads((tmp_path / f"rank-{r}.json").read_text()) for r in (0, 1))
    assert set(one) == set(two) == {"video", "lidar", "student", *STAGES}
    for name, found in one.items():
        other, run = two[name], tmp_path / name
        assert found["loss"] == other["loss"] and len(found["loss"]) == 2, name
        assert found["weights"] == other["weights"], name
        assert found["report"]["loss"] != other["report"]["loss"], name  # of other samples
        assert found["report"]["batch"] == 4 and found["report"]["num_processes"] == 2
        digest = DepthModel.from_pretrained(run / "model").digest
        assert found["report"]["digest"] == other["report"]["digest"] == digest
        assert [line["step"] for line in read_metrics(run)] == [1, 2]
        assert [line["loss"] for line in read_metrics(run)] == pytest.approx(found["loss"])


LAUNCHERS = {
    "torchrun": ["torch.distributed.run", "--nproc-per-node", "2"],
    "accelerate": ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"],
}


@pytest.mark.campaign
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_the_documented_launchers_start_one_run(tmp_path: Path, launcher: str) -> None:
    dataset, run = make_dataset(tmp_path / "dataset", 8), tmp_path / "run"
    (tmp_path / "run.yaml").write_text(lidar_teacher(num_steps=3).model_dump_json())
    words = ["-m", *LAUNCHERS[launcher], "-m", "nightrain.flows.cli", "train", str(dataset)]
    words += ["--config", str(tmp_path / "run.yaml"), "--out", str(run), "--device", "cpu"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MASTER_PORT": free_port()}
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env=environment, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("step 3 of 3") == 1 and "6 per step in 2 processes" in done.stdout
    digest = DepthModel.from_pretrained(run / "model").digest
    assert f"model {digest}" in " ".join(done.stdout.split())
