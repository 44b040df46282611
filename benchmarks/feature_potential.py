"""Feature potential: depth error of a frozen decoder on features optimised against the exact depth.

IID-RDepth, check T10 (docs/papers/iid_rdepth.md).

    python -m nightrain.benchmarks.feature_potential DATASET MODEL

The network is frozen. For each held-out frame, Adam optimises one level of the encoder's features,
the other levels fixed, to minimise the squared error against half of the frame's exact depth; the
error is measured on the other half. The halves alternate in squares of `CELL_PX` pixels, so that
scored pixels are not only neighbours of fitted ones. This is not a method, because it uses the
ground truth: the error on the fitted half tells how much can be memorised, that on the other half
what better features of that level could give. Feature shifts are in standard deviations of the
level's channels.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from nightrain.benchmarks.held_out_frames import held_out_batches, scored
from nightrain.depthmodel.decoders.base import Maps
from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.roles.objective import Batch

CELL_PX = 16  # as wide as a cell of level 2
LEVELS = {
    "none": (),
    "level 0": (0,),
    "level 1": (1,),
    "level 2": (2,),
    "level 3": (3,),
    "levels 2 and 3 (the restored ones)": (2, 3),
    "all": (0, 1, 2, 3),
}


def fitted_half(height: int, width: int) -> Tensor:
    """Chequerboard (H, W) bool of squares of `CELL_PX` pixels: True where depth is fitted."""
    rows, columns = torch.arange(height) // CELL_PX, torch.arange(width) // CELL_PX
    return (rows[:, None] + columns[None]) % 2 == 0


def moved(
    model: DepthModel, batch: Batch, levels: tuple[int, ...], steps: int, lr: float
) -> tuple[Tensor, Tensor]:
    """Return the depth (B, 1, H, W) in metres after the descent, and the shift (B,) in stds.

    The descent sees the depth of `fitted_half` alone.
    """
    image, truth_m = batch["image"], batch["exact_depth_m"][:, None]
    size = image.shape[2], image.shape[3]
    valid = ((truth_m > 0) & fitted_half(*size)).float()
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
        loss = (square / valid.sum((1, 2, 3)).clamp(min=1)).sum()  # frames are independent
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
    """Return a Markdown row per level: RMSE on both halves, its change, AbsRel and mean shift."""
    batches = list(held_out_batches(dataset, model.config.input_size, condition, frames))
    lines, before = list[str](), None
    for words, levels in LEVELS.items():
        scores, far = [], []
        for batch in batches:
            depth_m, moved_by = moved(model, batch, levels, steps, lr)
            far += moved_by.tolist()
            fitted = fitted_half(*depth_m.shape[2:])
            for d, t in zip(depth_m, batch["exact_depth_m"], strict=True):
                other, own = scored(d[0], t * ~fitted), scored(d[0], t * fitted)
                scores.append((other.rmse, other.abs_rel, own.rmse))
        rmse, abs_rel, fitted_rmse = torch.tensor(scores).mean(0).tolist()
        before = before or rmse
        change = f"{100 * (rmse / before - 1):+.0f} %"
        cells = [words, str(len(far)), f"{fitted_rmse:.3f}", f"{rmse:.3f}", change]
        cells += [f"{abs_rel:.4f}", f"{sum(far) / len(far):.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
        print(condition, lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("model", type=Path, help="model folder")
    parser.add_argument("--conditions", default="clear,night", help="conditions to test")
    parser.add_argument("--frames", type=int, default=24, help="maximum frames per condition")
    parser.add_argument("--steps", type=int, default=100, help="Adam steps per frame")
    parser.add_argument("--lr", type=float, default=0.05, help="step size in standard deviations")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = DepthModel.from_pretrained(options.model).requires_grad_(False)
    table = [
        "| optimised levels | frames | fitted half: RMSE m | other half: RMSE m | change | AbsRel "
        "| shift (stds) |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for condition in options.conditions.split(","):
        found = rows(model, options.dataset, condition, options.frames, options.steps, options.lr)
        table += [line.replace("| ", f"| {condition}: ", 1) for line in found]
    print("\n".join(table))


if __name__ == "__main__":
    main()
