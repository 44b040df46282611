"""The paper's run: whole on the meta device, and a true step of it in small."""

import json
from pathlib import Path

import pytest
import torch

from nightrain.depthmodel.config import EncoderConfig, Kind
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.network.presets import paper_depth, paper_pose
from nightrain.depthmodel.roles.teacher import TeacherRole
from nightrain.depthmodel.training.checkpoint import checkpoints, load_checkpoint
from nightrain.depthmodel.training.config import TrainConfig, checked
from nightrain.depthmodel.training.distillation_presets import paper_teacher
from nightrain.depthmodel.training.loop import train
from nightrain.depthmodel.training.trainer import seed_torch
from support.synthetic import ingest_synthetic
from support.tiny_depth_models import tiny_config
from support.training import NeighbourSource


def from_random_weights() -> TrainConfig:
    """paper_teacher as it is, but for the weights that a hub has."""
    preset = paper_teacher()
    assert isinstance(preset.role, TeacherRole)
    role = preset.role.model_copy(update={"pose": paper_pose(pretrained=False)})
    return preset.model_copy(update={"model": paper_depth(pretrained=False), "role": role})


def test_the_papers_networks_are_assembled_at_their_size() -> None:
    config = from_random_weights()
    with torch.device("meta"):
        objective = config.objective()
        width, height = config.model.input_size
        prediction = objective.model(torch.zeros(1, 3, height, width))
    assert prediction.inverse_depth.shape == (1, 1, 518, 784)
    assert prediction.features[-1].shape == (1, 768, 37, 56)
    millions = {
        name: sum(p.numel() for p in parameters) / 1e6
        for name, parameters in objective.groups().items()
    }
    assert 86 < millions["encoder"] < 88  # published: ViT-B/14 86.6
    assert 11.2 < millions["pose"] < 13.5  # published: ResNet-18 without its classifier 11.2
    assert 9 < millions["decoder"] < 12


@pytest.mark.parametrize("kind", ["dinov2", "swin"])  # SSD's encoder, that of KITTI's lineage
def test_a_step_of_the_papers_run_in_small(kind: Kind, tmp_path: Path) -> None:
    """Video, a pose network and weak velocity; the preset but for sizes, workers and compiling."""
    ingest_synthetic(tmp_path / "dataset", NeighbourSource(num_frames=6))
    config = in_small(from_random_weights(), kind)
    run = tmp_path / "run"
    assert train(config, tmp_path / "dataset", run, device="cpu").status == "finished"
    assert DepthModel.from_pretrained(run / "model").config == config.model
    seed_torch(config.seed, 0)
    before = config.objective().trained.state_dict()
    after = load_checkpoint(checkpoints(run / "checkpoints")[-1]).parts["networks"]
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    for part in ("depth.encoder.", "depth.decoder.", "pose.encoder.", "pose.head."):
        assert any(name.startswith(part) and name.endswith("weight") for name in moved), part
    line = json.loads((run / "metrics.jsonl").read_text())
    assert line["photometric"] > 0 and line["velocity"] > 0


def in_small(config: TrainConfig, kind: Kind) -> TrainConfig:
    assert isinstance(config.role, TeacherRole)
    pose = config.role.pose.model_copy(update={"size": "test", "hidden_channels": 8})
    encoder = EncoderConfig(kind=kind, size="test")
    model = config.model.model_copy(
        update={"encoder": encoder, "decoder": tiny_config().decoder, "input_size": (112, 56)}
    )
    data = config.data.model_copy(update={"input_size": (112, 56), "loss_size": (64, 32)})
    small = {
        "role": config.role.model_copy(update={"pose": pose}),
        "model": model,
        "data": data,
        "num_steps": 1,
        "num_workers": 0,
        "compile": False,
        "report_every": 1,
    }
    return checked(config.model_copy(update=small))
