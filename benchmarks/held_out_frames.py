"""Held-out frames of a rendered world in batches, and scores against their exact depth."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

import torch

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.loader.config import TrainingSetConfig
from nightrain.datasets.loader.loader import TrainingSet, make_loader
from nightrain.datasets.loader.packing import as_float
from nightrain.datasets.loader.twins import recorded_frames
from nightrain.datasets.splits import Split
from nightrain.depthmodel.evaluation.metrics import DepthMetrics, score_image
from nightrain.depthmodel.roles.objective import Batch
from nightrain.depthmodel.training.trainer import to_device

BATCH = 8
HeldOut = Literal["val", "test"]  # choose on val, report on test
SPLITS: tuple[HeldOut, ...] = ("val", "test")


def held_out_batches(
    dataset: Path,
    size: tuple[int, int],
    condition: str,
    frames: int | None = None,
    *,
    split: HeldOut = "test",
    view: Literal["stereo"] | None = None,
) -> Iterator[Batch]:
    """Yield the frames of a split and a condition at a (width, height), in batches of 8.

    Without `frames`, all frames in stored order; otherwise a shuffled selection, rounded up to
    whole batches. Batches also hold "place", the name of each frame's place; with `view`, the
    stereo partner, and as "wrong" the views (B, 3, H, W) of frames of
    other places. Raises InvalidRequest where a wrong view is needed and all frames are of one
    place.
    """
    data = TrainingSetConfig(
        input_size=size,
        loss_size=size,
        split=split,
        conditions=(Condition(condition),),
        augmentation=None,
        lidar_depth=False,
        exact_depth=True,
        stereo=view == "stereo",
    )
    samples = TrainingSet(dataset, data)
    sampler = samples.sampler(0, shuffle=frames is not None)
    loader = make_loader(samples, sampler, BATCH, drop_last=False)
    places = _places(dataset, samples)
    partners = elsewhere(places) if view else []
    for batch in islice(loader, None if frames is None else -(-frames // BATCH)):
        found = to_device(batch, torch.device("cpu"))
        found["place"] = [places[index] for index in found["index"].tolist()]
        if view:
            others = [samples[partners[index]][view] for index in found["index"].tolist()]
            found["wrong"] = torch.stack([as_float(o) for o in others if not isinstance(o, str)])
        yield found


def recorded_conditions(dataset: Path, split: Split) -> set[Condition]:
    """Conditions under which a split has frames."""
    return {one.condition for one in recorded_frames(dataset, split)}


def elsewhere(places: Sequence[str]) -> list[int]:
    """For each item, the number of one of another place, about half of the list away.

    Raises InvalidRequest where all items are of one place.
    """
    if len(set(places)) < 2:
        raise InvalidRequest(
            f"found frames of {len(set(places))} place(s), expected at least 2: a wrong view is "
            "one of another place"
        )
    num = len(places)
    return [
        next(j for k in range(num) if places[j := (i + num // 2 + k) % num] != places[i])
        for i in range(num)
    ]


def _places(dataset: Path, samples: TrainingSet) -> list[str]:
    """Place of each sample: the drive that its scene was cut from."""
    recorded = recorded_frames(dataset, samples.config.split)
    drive_of = {one.frame_id: one.geometry.drive for one in recorded}
    return [drive_of[frame_id] for frame_id in samples.index.frames.columns["frame_id"].tolist()]


def scored(depth_m: torch.Tensor, truth_m: torch.Tensor) -> DepthMetrics:
    """Score a depth map (H, W) in metres against the exact one, where 0 means no depth."""
    metrics = score_image(depth_m.numpy(), truth_m.numpy())
    assert metrics is not None  # every rendered frame has some depth
    return metrics
