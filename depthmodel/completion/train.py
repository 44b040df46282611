"""Training of the completion network on a rendered world's clear frames; resumable.

    python -m nightrain.depthmodel.completion.train DATASET --out RUN
    python -m nightrain.depthmodel.completion.train DATASET --out RUN --export WEIGHTS --calibrate

The first command resumes a run in RUN; RUN/log.jsonl has a line per report. The second writes the
averaged weights of its last checkpoint in half precision.
"""

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import torch
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.geometry.completion import MAX_COMPLETED_M
from nightrain.datasets.shards.parquet import Row
from nightrain.depthmodel.completion.calibrate import calibrated_scale
from nightrain.depthmodel.completion.complete import save_weights
from nightrain.depthmodel.completion.network import CompletionNetwork, CompletionOutput
from nightrain.depthmodel.completion.training_set import (
    CompletionBatch,
    CompletionSet,
    clear_rows,
)
from nightrain.depthmodel.training.checkpoint import (
    Checkpoint,
    checkpoints,
    load_checkpoint,
    load_optimizer_tensors,
    optimizer_tensors,
    save_checkpoint,
)

LR, ENCODER_LR = 2e-3, 3e-4
WARMUP_STEPS, BATCH = 60, 4
REPORT_EVERY, CHECKPOINT_EVERY = 20, 50
CHECKPOINTS = "checkpoints"  # folder of a run
FAR_M, FAR_WEIGHT = 80.0, 0.25
AVERAGE_DECAY = 0.99


def loss_of(output: CompletionOutput, batch: CompletionBatch) -> dict[str, torch.Tensor]:
    """Terms of the loss: Laplace likelihood, relative error, steps of log depth, and sky.

    Depth beyond 80 m, which no LiDAR measures, has a lower weight.
    """
    is_known = (batch.exact_m > 0).float()
    known = is_known * torch.where(batch.exact_m > FAR_M, FAR_WEIGHT, 1.0)
    log_exact = batch.exact_m.clamp(0.5, MAX_COMPLETED_M).log()
    error = (output.log_depth - log_exact) * is_known
    size = known.sum().clamp(min=1)
    nll = ((error.abs() / output.scale + output.scale.log()) * known).sum() / size
    steps = torch.zeros(())
    for shift in (1, 4):
        for axis in (2, 3):
            length = error.shape[axis] - shift
            a, b = error.narrow(axis, shift, length), error.narrow(axis, 0, length)
            both = known.narrow(axis, shift, length) * known.narrow(axis, 0, length)
            steps = steps + ((a - b).abs() * both).sum() / both.sum().clamp(min=1)
    return {
        "nll": 0.1 * nll,
        "relative": 2.0 * (torch.expm1(error.clamp(max=1.5)).abs() * known).sum() / size,
        "steps": 0.5 * steps,
        "sky": 0.3 * F.binary_cross_entropy_with_logits(output.sky_logit, 1 - is_known),
    }


class Run:
    """State of a training run, with a checkpoint in its folder."""

    def __init__(self, dataset: Path, folder: Path, num_steps: int, seed: int) -> None:
        self.data, self.folder = CompletionSet(dataset), folder
        self.num_steps, self.seed, self.step = num_steps, seed, 0
        torch.manual_seed(seed)
        self.network = CompletionNetwork(pretrained=True)
        self.network.freeze_lower()
        self.average = AveragedModel(
            self.network, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE_DECAY), use_buffers=False
        )
        encoder = [p for p in self.network.encoder.parameters() if p.requires_grad]
        others = [p for n, p in self.network.named_parameters() if not n.startswith("encoder.")]
        self.optimizer = torch.optim.AdamW(
            [{"params": encoder, "rate": ENCODER_LR}, {"params": others, "rate": LR}],
            weight_decay=1e-3,
        )
        if found := checkpoints(folder / CHECKPOINTS):
            self._load(load_checkpoint(found[-1]))

    def train(self) -> None:
        """Train to the last step, with a checkpoint and a line of the log every few steps."""
        self.network.train()
        sums: dict[str, float] = {}
        started = time.perf_counter()
        while self.step < self.num_steps:
            for name, value in self._do_step().items():
                sums[name] = sums.get(name, 0.0) + value / REPORT_EVERY
            if self.step % REPORT_EVERY == 0:
                seconds = (time.perf_counter() - started) / REPORT_EVERY
                self._log({"step": self.step, "s_per_step": seconds, **sums})
                sums, started = {}, time.perf_counter()
            if self.step % CHECKPOINT_EVERY == 0 or self.step == self.num_steps:
                self._save()

    def _do_step(self) -> dict[str, float]:
        batch = self.data.batch(self.seed, self.step, BATCH)
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * _rate(self.step, self.num_steps)
        terms = loss_of(self.network(batch.image, batch.planes), batch)
        loss = torch.stack(list(terms.values())).sum()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        if math.isfinite(float(loss.detach())):
            self.optimizer.step()
        self.average.update_parameters(self.network)
        self.step += 1
        return {name: float(value.detach()) for name, value in terms.items()}

    def _save(self) -> None:
        parts = {
            "network": self.network.state_dict(),
            "average": self.average.module.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer),
        }
        tensors = {name: {k: v.contiguous() for k, v in t.items()} for name, t in parts.items()}
        save_checkpoint(self.folder / CHECKPOINTS, Checkpoint(self.step, {}, tensors))

    def _load(self, state: Checkpoint) -> None:
        self.step = state.step
        self.network.load_state_dict(state.parts["network"])
        self.average.module.load_state_dict(state.parts["average"])
        self.average.n_averaged.fill_(state.step)
        load_optimizer_tensors(self.optimizer, state.parts["optimizer"])

    def _log(self, line: dict[str, float]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps({k: round(v, 4) for k, v in line.items()}) + "\n")


def export(run: Path, weights: Path, rows: Sequence[Row] = ()) -> None:
    """Write the averaged weights of a run's last checkpoint as package weights.

    `rows` are held-out frames that the confidence is calibrated on.
    """
    found = checkpoints(run / CHECKPOINTS)
    if not found:
        raise InvalidRequest(f"{run} has no checkpoint. Give the folder of a run as --out.")
    network = CompletionNetwork()
    network.load_state_dict(load_checkpoint(found[-1]).parts["average"])
    save_weights(network, weights, calibrated_scale(network, rows) if rows else 1.0)


def _rate(step: int, num_steps: int) -> float:
    """Learning rate as a share of its peak: linear warm-up, then a cosine to 2 %."""
    warm = min(1.0, (step + 1) / WARMUP_STEPS)
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / num_steps))))


def main() -> None:
    """Train, or resume the run in --out."""
    parser = argparse.ArgumentParser(description="Train the depth completion network")
    parser.add_argument("dataset", type=Path, help="dataset of a rendered world with exact depth")
    parser.add_argument(
        "--out", type=Path, required=True, help="run folder; an existing one resumes"
    )
    parser.add_argument("--steps", type=int, default=2000, help="optimiser steps of 4 samples")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--export", type=Path, help="write the weights there and do not train")
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="with --export: calibrate confidence on the val places",
    )
    options = parser.parse_args()
    if options.export:
        rows = clear_rows(options.dataset, "val")[::3] if options.calibrate else []
        export(options.out, options.export, rows)
        return
    cv2.setNumThreads(1)
    Run(options.dataset, options.out, options.steps, options.seed).train()


if __name__ == "__main__":
    main()
