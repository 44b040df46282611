"""Scores of the restoration study: one row per held-out frame, for each view of an arm."""

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypedDict

import cv2
import torch

from nightrain.benchmarks.held_out_frames import (
    HeldOut,
    held_out_batches,
    recorded_conditions,
    scored,
)
from nightrain.benchmarks.restoration_arms import WEATHER, Arm, View
from nightrain.depthmodel.auxview.view import view_of
from nightrain.depthmodel.decoders.base import Maps
from nightrain.depthmodel.evaluation.baselines import MedianDepth
from nightrain.depthmodel.evaluation.metrics import DepthMetrics
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.roles.objective import Batch

NOISE_SEED = 11


class Row(TypedDict):
    """Scores of one frame; `deviation` and `rmse_of_steps` are of its chain from noise."""

    place: str
    condition: str
    rmse: float  # metres
    abs_rel: float
    d1: float
    deviation: float
    rmse_of_steps: list[float]


def arm_rows(folder: Path, arm: Arm, dataset: Path, split: HeldOut) -> dict[View, list[Row]]:
    """Score an arm's network, in `folder`, on all frames of a split, for each scored view."""
    model = DepthModel.from_pretrained(folder)
    recorded = recorded_conditions(dataset, split)
    found: dict[View, list[Row]] = {view: [] for view in arm.scored}
    for view, rows in found.items():
        for condition in (c for c in WEATHER if c in recorded):
            for batch in held_out_batches(
                dataset, model.config.input_size, condition, split=split, view=arm.view
            ):
                rows += _rows(model, arm, batch, view, condition)
    return found


def constant_rows(size: tuple[int, int], dataset: Path, split: HeldOut) -> dict[View, list[Row]]:
    """Score the median depth of the train frames at each pixel, at a (width, height)."""
    depth_m = MedianDepth.fit(dataset, truth="exact").depth_m
    constant = torch.from_numpy(cv2.resize(depth_m, size))
    recorded = recorded_conditions(dataset, split)
    rows = [
        _row(place, condition, scored(constant, truth_m))
        for condition in WEATHER
        if condition in recorded
        for batch in held_out_batches(dataset, size, condition, split=split)
        for place, truth_m in zip(batch["place"], batch["exact_depth_m"], strict=True)
    ]
    return {"none": rows}


@torch.no_grad()
def _rows(model: DepthModel, arm: Arm, batch: Batch, view: View, condition: str) -> Iterator[Row]:
    image = batch["image"]
    size = image.shape[2], image.shape[3]
    aux = view_of(batch, arm.view) if arm.view and view != "none" else None
    if aux is not None and view == "wrong":
        aux = aux._replace(image=batch["wrong"])
    maps = model.enhanced(image, model.encode(image), aux)
    depths_m = 1 / model.decode(model.restored(maps, size)[-1], size)
    generator = torch.Generator().manual_seed(NOISE_SEED)
    chain = model.restored(maps, size, generator=generator)
    steps_m = [1 / model.decode(step, size) for step in chain]
    deviation = _deviation(model, maps, chain, size)
    for index, truth_m in enumerate(batch["exact_depth_m"]):
        metrics, *steps = (scored(d[index, 0], truth_m) for d in (depths_m, *steps_m))
        of_steps = [step.rmse for step in steps]
        yield _row(batch["place"][index], condition, metrics, deviation, of_steps)


def _row(
    place: str,
    condition: str,
    metrics: DepthMetrics,
    deviation: float = 0.0,
    rmse_of_steps: Sequence[float] = (),
) -> Row:
    return Row(
        place=place,
        condition=str(condition),
        rmse=metrics.rmse,
        abs_rel=metrics.abs_rel,
        d1=metrics.d1,
        deviation=deviation,
        rmse_of_steps=list(rmse_of_steps),
    )


def _deviation(model: DepthModel, maps: Maps, chain: list[Maps], size: tuple[int, int]) -> float:
    """Step deviation (T9): mean of |x^(t) - x^(1)| / |f| over the steps of a chain from noise."""
    if model.restoration is None or len(chain) < 2:
        return 0.0
    std = model.restoration.std[:, None, None]
    *earlier, last = (model.packed(step, size) for step in chain)
    features = model.packed(maps, size)
    scale = float(model.restoration.standardise(features).norm())
    return statistics.fmean(float(((x - last) / std).norm()) / scale for x in earlier)
