"""Val frames of a rendered world in batches, and scores against their exact depth."""

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
    """Yield the val frames of a condition at the model's input size, in batches of 8.

    Without `frames`, all frames in stored order; otherwise a shuffled selection, rounded up to
    whole batches. With `view`, batches also hold the stereo partner or the neighbouring frames.
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
    """Score a depth map (H, W) in metres against the exact one, where 0 means no depth."""
    metrics = score_image(depth_m.numpy(), truth_m.numpy())
    assert metrics is not None  # every rendered frame has some depth
    return metrics
