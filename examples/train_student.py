"""Train a small depth network on clear frames and their variants, with a plain PyTorch loop.

    python examples/train_student.py DATASET RECIPE [STEPS]

RECIPE is the name of the recipe that generated the variants, such as weather. The loss is on LiDAR
depth, so no teacher is needed. `nightrain train` does the same with checkpoints that resume, an
average of the weights, and a teacher's labels.
"""

import sys
from pathlib import Path

import torch

from nightrain.datasets.loader.config import TrainingSetConfig
from nightrain.datasets.loader.loader import TrainingSet, make_loader
from nightrain.datasets.loader.packing import as_float
from nightrain.depthmodel.losses.silog import silog_loss
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.network.presets import world_depth


def train(dataset: Path, recipe: str, num_steps: int) -> list[float]:
    """Return the loss of each step."""
    network = world_depth()
    model = DepthModel(network).train()
    config = TrainingSetConfig(
        recipes=(recipe,),  # a sample shows the clear frame or one of its variants
        input_size=network.input_size,
        loss_size=network.input_size,
    )
    samples = TrainingSet(dataset, config)
    sampler = samples.sampler(seed=0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-4)
    losses: list[float] = []
    while len(losses) < num_steps:
        for batch in make_loader(samples, sampler, batch_size=2, drop_last=False):
            image, truth_m = as_float(batch["image"]), batch["lidar_depth_m"][:, None]
            loss = silog_loss(model(image).depth_m, truth_m).loss
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        sampler.next_epoch()
    return losses[:num_steps]


if __name__ == "__main__":
    steps = int(sys.argv[3]) if len(sys.argv) > 3 else 200
    losses = train(Path(sys.argv[1]), sys.argv[2], steps)
    print(f"SILog: {losses[0]:.2f} at the first step, {losses[-1]:.2f} at the last of {steps}")
