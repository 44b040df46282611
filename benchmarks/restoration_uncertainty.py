"""Uncertainty calibration: the spread of predicted depth against the depth error.

IID-RDepth, eq. 26 (docs/papers/iid_rdepth.md); results: docs/studies/restoration.md.

    python -m nightrain.benchmarks.restoration_uncertainty DATASET MODEL --ensemble MODEL2 MODEL3

Spreads of log depth are compared: over noise seeds of MODEL by the deterministic and by the
stochastic chain, and over an ensemble, the networks of several training seeds without noise. One
temperature per spread is fitted on frames of the val split under all conditions; everything else is
measured on the test split. For each condition the command prints, as Markdown:

- the rank correlation of the spread with the error;
- AUSE, the area under the sparsification error curve (0 is perfect), next to the area of a random
  ranking and of a ranking by depth, because distant pixels have larger errors;
- RMSE of one prediction and of the mean prediction;
- the temperature, and the shares of pixels with an error within 1 and 2 calibrated spreads (of a
  normal error: 0.683 and 0.954);
- RMS error in five quantiles of the calibrated spread; both are equal if it is calibrated.
"""

import argparse
import copy
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nightrain.benchmarks.held_out_frames import HeldOut, held_out_batches, scored
from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.auxview.view import AuxImages
from nightrain.depthmodel.evaluation.uncertainty import (
    calibration,
    coverage,
    log_depth_spread,
    sparsification,
    temperature,
)
from nightrain.depthmodel.network.model import DepthModel

QUANTILES = 5
Predict = Callable[[Tensor], Tensor]  # images (B, 3, H, W) to depths (N, B, 1, H, W) in metres


class Pixels(NamedTuple):
    """Pixels (N,) with exact depth, and the RMSE of each image in metres."""

    spread: np.ndarray  # standard deviation of ln depth over the predictions
    error: np.ndarray  # |ln d - ln d*| of the geometric mean of the predictions
    depth_m: np.ndarray
    one_rmse_m: float  # mean over images, of the first prediction
    mean_rmse_m: float


@torch.no_grad()
def seeded_depths(
    model: DepthModel,
    image: Tensor,
    num_seeds: int,
    *,
    aux: AuxImages | None = None,
    stochastic: bool = False,
) -> Tensor:
    """Predict depth (num_seeds, B, 1, H, W) in metres from noise seeds; raises InvalidRequest."""
    if model.restoration is None:
        raise InvalidRequest(
            "found a model without restoration, expected one with restoration: others use no noise"
        )
    restoration = copy.copy(model.restoration)  # shares the weights
    restoration.config = restoration.config.model_copy(update={"stochastic": stochastic})
    size = image.shape[2], image.shape[3]
    maps = model.enhanced(image, model.encode(image), aux)
    packed, found = model.packed(maps, size), list[Tensor]()
    for seed in range(num_seeds):
        last = restoration(packed, generator=torch.Generator().manual_seed(seed))[-1]
        found.append(1 / model.decode(model.unpacked(last, maps), size))
    return torch.stack(found)


@torch.no_grad()
def ensemble_depths(models: Sequence[DepthModel], image: Tensor) -> Tensor:
    """Predict depth (num_models, B, 1, H, W) in metres with each model, without noise."""
    return torch.stack([model(image).depth_m for model in models])


def measured(predict: Predict, batches: Iterable[dict[str, Tensor]], max_depth_m: float) -> Pixels:
    """Collect the pixels with exact depth up to `max_depth_m` of all batches."""
    spreads, errors, depths_m = (list[np.ndarray]() for _ in range(3))
    rmse = list[tuple[float, float]]()
    for batch in batches:
        found_m = predict(batch["image"])
        mean_m = found_m.log().mean(0).exp()
        truth_m = batch["exact_depth_m"][:, None]
        there = (truth_m > 0) & (truth_m <= max_depth_m)
        spreads.append(log_depth_spread(list(found_m))[there].numpy())
        depths_m.append(mean_m[there].numpy())
        errors.append((mean_m.log() - truth_m.log()).abs()[there].numpy())
        for one, mean, truth in zip(found_m[0], mean_m, truth_m, strict=True):
            rmse.append((scored(one[0], truth[0]).rmse, scored(mean[0], truth[0]).rmse))
    one_rmse_m, mean_rmse_m = np.mean(rmse, axis=0).tolist()
    arrays = map(np.concatenate, (spreads, errors, depths_m))
    return Pixels(*arrays, one_rmse_m=one_rmse_m, mean_rmse_m=mean_rmse_m)


def rows_of(name: str, condition: str, pixels: Pixels, factor: float) -> tuple[str, list[str]]:
    """Return the Markdown row of a spread, and a row for each quantile of it."""
    spread = factor * pixels.spread
    found = calibration(spread, pixels.error, QUANTILES)
    curve, by_depth = found.sparsification, sparsification(pixels.depth_m, pixels.error)
    within = coverage(pixels.spread, pixels.error, factor)
    cells = [condition, name, f"{found.rank_correlation:.2f}"]
    cells += [f"{area:.3f}" for area in (curve.area, curve.random_area, by_depth.area)]
    cells += [f"{pixels.one_rmse_m:.3f}", f"{pixels.mean_rmse_m:.3f}", f"{factor:.1f}"]
    cells += [f"{share:.3f}" for share in within]
    quantiles = [
        f"| {condition} | {name} | {index} | {row.rms_spread:.4f} | {row.rms_error:.3f} |"
        for index, row in enumerate(found.table, 1)
    ]
    return f"| {' | '.join(cells)} |", quantiles


def predictors(model: DepthModel, others: Sequence[DepthModel], seeds: int) -> dict[str, Predict]:
    """Return the spreads to compare, by name."""
    found: dict[str, Predict] = {}
    if model.restoration is not None:
        found["noise, deterministic"] = lambda image: seeded_depths(model, image, seeds)
        found["noise, stochastic"] = lambda image: seeded_depths(
            model, image, seeds, stochastic=True
        )
    if others:
        models = (model, *others)
        found[f"ensemble of {len(models)}"] = lambda image: ensemble_depths(models, image)
    if not found:
        raise InvalidRequest(
            "found one model without restoration, expected a model with restoration or --ensemble"
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--ensemble", type=Path, nargs="*", default=[], help="further models")
    parser.add_argument("--conditions", default="clear,night,rain", help="conditions to test")
    parser.add_argument("--frames", type=int, default=64, help="maximum frames per condition")
    parser.add_argument("--seeds", type=int, default=5, help="number of noise seeds")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, *others = (
        DepthModel.from_pretrained(folder) for folder in (options.model, *options.ensemble)
    )

    def pixels(predict: Predict, conditions: Sequence[str], split: HeldOut) -> Pixels:
        size = model.config.input_size
        batches = chain.from_iterable(
            held_out_batches(options.dataset, size, condition, options.frames, split=split)
            for condition in conditions
        )
        return measured(predict, batches, model.config.max_depth_m)

    conditions = options.conditions.split(",")
    rows, tables = list[str](), list[str]()
    for name, predict in predictors(model, others, options.seeds).items():
        val = pixels(predict, conditions, "val")
        factor = temperature(val.spread, val.error)
        for condition in conditions:
            row, quantiles = rows_of(name, condition, pixels(predict, [condition], "test"), factor)
            rows.append(row)
            tables += quantiles
    names = ("condition", "spread", "rank correlation", "AUSE", "AUSE, random", "AUSE, by depth")
    names += ("RMSE m of one", "of the mean", "temperature", "within 1", "within 2")
    print(f"| {' | '.join(names)} |")
    print("| --- | --- |" + " ---: |" * (len(names) - 2))
    print("\n".join(rows), "\n")
    print("| condition | spread | quantile | RMS calibrated spread | RMS error |")
    print("| --- | --- | ---: | ---: | ---: |")
    print("\n".join(tables))


if __name__ == "__main__":
    main()
