"""Val frames of a rendered world as batches, and the score of a depth against their exact depth."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch

from nightrain.datasets.conditions import Condition
from nightrain.datasets.loader.config import TrainingSetConfig
from nightrain.datasets.loader.loader import TrainingSet, make_loader
from nightrain.depthmodel.config import ViewKind
from nightrain.depthmodel.evaluation.metrics import DepthMetrics, score_image
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.roles.objective import Batch
from nightrain.depthmodel.training.trainer import to_device

BATCH = 8


def val_batches(
    dataset: Path,
    model: DepthModel,
    condition: str,
    frames: int | None = None,
    *,
    view: ViewKind | None = None,
) -> Iterator[Batch]:
    """Frames of a condition at the model's size, in whole batches of 8 but for the last of all.

    All of them in their order, or at most `frames` in an order of their own, with the views of a
    kind beside them where one is asked for.
    """
    size = model.config.input_size
    data = TrainingSetConfig(
        input_size=size,
        loss_size=size,
        split="val",
        conditions=(Condition(condition),),
        augmentation=None,
        lidar_depth=False,
        exact_depth=True,
        stereo=view == "stereo",
        neighbours=view == "previous",
    )
    samples = TrainingSet(dataset, data)
    sampler = samples.sampler(0, shuffle=frames is not None)
    loader = make_loader(samples, sampler, BATCH, drop_last=False)
    for batch in islice(loader, None if frames is None else -(-frames // BATCH)):
        yield to_device(batch, torch.device("cpu"))


def scored(depth_m: torch.Tensor, truth_m: torch.Tensor) -> DepthMetrics:
    """Metrics of a depth map (H, W) in metres against the exact one, 0 where there is none."""
    metrics = score_image(depth_m.numpy(), truth_m.numpy())
    assert metrics is not None  # a rendered frame has depth somewhere
    return metrics
