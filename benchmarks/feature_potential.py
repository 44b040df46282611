"""Feature potential: depth error of a frozen decoder on features optimised against the exact depth.

IID-RDepth, check T10 (docs/papers/iid_rdepth.md).

    python -m nightrain.benchmarks.feature_potential DATASET MODEL

The network is frozen. For each val frame, Adam optimises one level of the encoder's features, the
other levels fixed, to minimise the squared error against the frame's exact depth. This is not a
method, because it uses the ground truth: it bounds what restoring that level could achieve, and
shows which levels matter. Feature shifts are in standard deviations of the level's channels.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from nightrain.benchmarks.val_frames import scored, val_batches
from nightrain.depthmodel.decoders.base import Maps
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.roles.objective import Batch

LEVELS = {
    "none": (),
    "level 0": (0,),
    "level 1": (1,),
    "level 2": (2,),
    "level 3": (3,),
    "levels 2 and 3 (the restored ones)": (2, 3),
    "all": (0, 1, 2, 3),
}


def moved(
    model: DepthModel, batch: Batch, levels: tuple[int, ...], steps: int, lr: float
) -> tuple[Tensor, Tensor]:
    """Return the depth (B, 1, H, W) in metres after the descent, and the shift (B,) in stds."""
    image, truth_m = batch["image"], batch["exact_depth_m"][:, None]
    size, valid = (image.shape[2], image.shape[3]), (truth_m > 0).float()
    with torch.no_grad():
        start = model.encode(image)
    std = [e.std((0, 2, 3), keepdim=True).clamp(min=1e-6) for e in start]
    shifts = {k: torch.zeros_like(start[k], requires_grad=True) for k in levels}

    def depth_m() -> Tensor:
        maps: Maps = tuple(
            e + std[k] * shifts[k] if k in shifts else e for k, e in enumerate(start)
        )
        return model.decode(maps, size).reciprocal()

    optimiser = torch.optim.Adam(shifts.values(), lr=lr) if shifts else None
    for _ in range(steps if optimiser else 0):
        assert optimiser is not None
        square = (valid * (depth_m() - truth_m)).square().sum((1, 2, 3))
        loss = (square / valid.sum((1, 2, 3))).sum()  # frames are independent
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        squares = [shifts[k].square().flatten(1).mean(1) for k in levels]
        far = torch.stack(squares).mean(0).sqrt() if squares else torch.zeros(len(image))
        return depth_m(), far


def rows(
    model: DepthModel, dataset: Path, condition: str, frames: int, steps: int, lr: float
) -> list[str]:
    """Return a Markdown row per level: mean RMSE, its change, mean AbsRel and mean shift."""
    batches = list(val_batches(dataset, model, condition, frames))
    lines, before = list[str](), None
    for words, levels in LEVELS.items():
        scores, far = [], []
        for batch in batches:
            depth_m, moved_by = moved(model, batch, levels, steps, lr)
            far += moved_by.tolist()
            for d, t in zip(depth_m, batch["exact_depth_m"], strict=True):
                metrics = scored(d[0], t)
                scores.append((metrics.rmse, metrics.abs_rel))
        rmse, abs_rel = torch.tensor(scores).mean(0).tolist()
        before = before or rmse
        change = f"{100 * (rmse / before - 1):+.0f} %"
        cells = [words, str(len(far)), f"{rmse:.3f}", change, f"{abs_rel:.4f}"]
        cells += [f"{sum(far) / len(far):.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
        print(condition, lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("model", type=Path, help="model folder")
    parser.add_argument("--conditions", default="clear,night", help="conditions of the val frames")
    parser.add_argument("--frames", type=int, default=24, help="maximum frames per condition")
    parser.add_argument("--steps", type=int, default=100, help="Adam steps per frame")
    parser.add_argument("--lr", type=float, default=0.05, help="step size in standard deviations")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = DepthModel.from_pretrained(options.model).requires_grad_(False)
    table = [
        "| optimised levels | frames | RMSE m | change | AbsRel | shift (stds) |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for condition in options.conditions.split(","):
        found = rows(model, options.dataset, condition, options.frames, options.steps, options.lr)
        table += [line.replace("| ", f"| {condition}: ", 1) for line in found]
    print("\n".join(table))


if __name__ == "__main__":
    main()
