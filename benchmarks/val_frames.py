"""Val frames of a rendered world as batches, for what is measured against exact depth."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch

from datasets.frame import Condition
from datasets.loader import TrainingSet, make_loader
from datasets.training_config import TrainingSetConfig
from depthmodel.model import DepthModel
from depthmodel.objectives import Batch
from depthmodel.trainer import to_device

BATCH = 8


def val_batches(
    dataset: Path, model: DepthModel, condition: str, frames: int, *, stereo: bool = False
) -> Iterator[Batch]:
    """At most `frames` frames of a condition, in an order of their own, at the model's size.

    In whole batches of 8, but for the last of all.
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
        stereo=stereo,
    )
    samples = TrainingSet(dataset, data)
    loader = make_loader(samples, samples.sampler(0, shuffle=True), BATCH, drop_last=False)
    for batch in islice(loader, -(-frames // BATCH)):
        yield to_device(batch, torch.device("cpu"))
