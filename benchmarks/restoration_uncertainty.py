"""Uncertainty calibration: spread of predicted depth over noise seeds against the depth error.

IID-RDepth, eq. 26 (docs/papers/iid_rdepth.md); results: docs/studies/restoration.md.

    python -m nightrain.benchmarks.restoration_uncertainty DATASET MODEL

Each val frame is predicted from several noise seeds, by the deterministic and by the stochastic
chain. For each condition the command prints, as Markdown:

- the rank correlation of the spread of log depth with its error;
- AUSE, the area under the sparsification error curve (0 is perfect), next to the area of a random
  ranking and of a ranking by depth, because distant pixels have larger errors;
- RMSE without noise, of one seed, and of the mean over the seeds;
- RMS error in five quantiles of the spread; both are equal if the spread is calibrated.
"""

import argparse
import copy
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nightrain.benchmarks.val_frames import scored, val_batches
from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.auxview.view import AuxImages
from nightrain.depthmodel.evaluation.uncertainty import (
    SpreadCalibration,
    calibration,
    log_depth_spread,
    sparsification,
)
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.roles.objective import Batch

QUANTILES = 5


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
def measured(
    model: DepthModel, batches: Iterable[Batch], num_seeds: int, *, stochastic: bool
) -> tuple[SpreadCalibration, dict[str, float]]:
    """Return the calibration of the spread, the AUSE of a ranking by depth, and RMSE in metres."""
    spreads, errors, depths_m = (list[np.ndarray]() for _ in range(3))
    rmse: dict[str, list[float]] = {"without noise": [], "one seed": [], "mean": []}
    for batch in batches:
        seeds_m = seeded_depths(model, batch["image"], num_seeds, stochastic=stochastic)
        plain_m = model(batch["image"]).depth_m
        mean_m = seeds_m.log().mean(0).exp()
        truth_m = batch["exact_depth_m"][:, None]
        there = (truth_m > 0) & (truth_m <= model.config.max_depth_m)
        spreads.append(log_depth_spread(list(seeds_m))[there].numpy())
        depths_m.append(mean_m[there].numpy())
        errors.append((mean_m.log() - truth_m.log()).abs()[there].numpy())
        for words, found_m in zip(rmse, (plain_m, seeds_m[0], mean_m), strict=True):
            rmse[words] += [scored(d[0], t[0]).rmse for d, t in zip(found_m, truth_m, strict=True)]
    spread, error, depth_m = map(np.concatenate, (spreads, errors, depths_m))
    found = {"AUSE of the depth": sparsification(depth_m, error).area}
    found |= {words: float(np.mean(values)) for words, values in rmse.items()}
    return calibration(spread, error, QUANTILES), found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--conditions", default="clear,night,rain", help="conditions to test")
    parser.add_argument("--frames", type=int, default=64, help="maximum frames per condition")
    parser.add_argument("--seeds", type=int, default=5, help="number of noise seeds")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = DepthModel.from_pretrained(options.model)
    rows, tables = list[str](), list[str]()
    for condition in options.conditions.split(","):
        for chain in ("deterministic", "stochastic"):
            batches = val_batches(options.dataset, model, condition, options.frames)
            found, beside = measured(
                model, batches, options.seeds, stochastic=chain == "stochastic"
            )
            curve = found.sparsification
            cells = [condition, chain, f"{found.rank_correlation:.2f}"]
            cells += [f"{curve.area:.3f}", f"{curve.random_area:.3f}"]
            cells += [f"{value:.3f}" for value in beside.values()]
            rows.append(f"| {' | '.join(cells)} |")
            for index, row in enumerate(found.table, 1):
                numbers = f"{row.rms_spread:.4f} | {row.rms_error:.3f}"
                tables.append(f"| {condition} | {chain} | {index} | {numbers} |")
    names = ("condition", "chain", "rank correlation", "AUSE", "AUSE, random", "AUSE, by depth")
    print("| " + " | ".join((*names, "RMSE m without noise", "one seed", "mean of seeds")) + " |")
    print("| --- | --- |" + " ---: |" * 7)
    print("\n".join(rows), "\n")
    print("| condition | chain | quantile | RMS spread | RMS error |")
    print("| --- | --- | ---: | ---: | ---: |")
    print("\n".join(tables))


if __name__ == "__main__":
    main()
