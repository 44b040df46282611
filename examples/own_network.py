"""Train a network with a decoder and a loss of your own, with checkpoints and a model folder.

    PYTHONPATH=examples python examples/own_network.py DATASET RUN [STEPS]

A part of your own is named "package.module:Class" wherever a built-in name is accepted. The model
folder remembers the name, so loading it needs the same module on the path.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from nightrain.depthmodel.decoders.base import Decoder, DepthRange, EncoderShape, Maps, resize
from nightrain.depthmodel.losses.base import LossInputs, LossTerm, TermValue, need
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.training.config import TrainConfig
from nightrain.depthmodel.training.distillation_presets import world_lidar_teacher
from nightrain.depthmodel.training.loop import train


class SumDecoder(Decoder):
    """Inverse depth from the sum of the projected maps at the finest grid."""

    def __init__(self, encoder: EncoderShape, depths: DepthRange, width: int = 32) -> None:
        super().__init__(encoder, depths)
        self.project = nn.ModuleList(nn.Conv2d(c, width, 1) for c in encoder.channels)
        self.leave = nn.Sequential(nn.GELU(), nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, maps: Maps, size: tuple[int, int]) -> Tensor:
        """Inverse depth (B, 1, h, w) in 1/m of four maps, fine to coarse."""
        grid = (maps[0].shape[2], maps[0].shape[3])
        projected = [resize(p(m), grid) for p, m in zip(self.project, maps, strict=True)]
        log_depth = torch.tanh(self.leave(torch.stack(projected).sum(0))) * 3
        return 1 / (self.depths.initial_m * log_depth.exp())


class AbsRel(LossTerm):
    """Mean |D - D*| / D* on LiDAR depth (md4all, eq. 13, docs/papers/md4all.md)."""

    def __call__(self, inputs: LossInputs) -> TermValue:
        """Value of the term."""
        true_m = need(inputs.batch, "lidar_depth_m")[:, None]  # (B, 1, h, w), 0 = no return
        measured = (true_m > 0) & (true_m <= inputs.max_depth_m)
        true_m = torch.where(measured, true_m, 1.0)
        error = (inputs.inverse_depth.reciprocal() - true_m).abs() / true_m
        return TermValue((error * measured).sum() / measured.sum().clamp(min=1))


def configuration(num_steps: int) -> TrainConfig:
    """Return the preset world-lidar-teacher with these parts."""
    fields = world_lidar_teacher().model_dump()
    fields["name"] = "own-network"
    fields["model"]["decoder"] = {"kind": "own_network:SumDecoder", "options": {"width": 16}}
    fields["role"]["loss"]["extra"] = {"own_network:AbsRel": 0.5}
    return TrainConfig.model_validate(fields | {"num_steps": num_steps, "batch_size": 2})


def main(dataset: Path, run: Path, num_steps: int) -> DepthModel:
    """Train and return the network, read back from its folder."""
    train(configuration(num_steps), dataset, run)
    return DepthModel.from_pretrained(run / "model")


if __name__ == "__main__":
    num_steps = int(sys.argv[3]) if len(sys.argv) > 3 else 500
    print(main(Path(sys.argv[1]), Path(sys.argv[2]), num_steps).config.decoder)
