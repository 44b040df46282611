"""Options of the training command, and the length of its stages."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nightrain.pipelines.small_diffusion.stages.stage import Budget

SHARES = {  # of the minutes, relative to those of the other stages
    "autoencoder": 0.2,
    "unet": 0.15,
    "controlnet": 0.4,
    "decoder": 0.25,
    "style": 0.1,
}
STEPS = {
    "autoencoder": 12_000,
    "unet": 12_000,
    "controlnet": 16_000,
    "decoder": 6_000,
    "style": 4_000,
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the command."""

    run: Path
    places: int
    processes: int
    device: torch.device
    minutes: float | None
    batch: int
    vae_batch: int
    steps_scale: float
    perceptual: bool
    pieces: Path | None
    sheet_rows: int
    log_seconds: float
    start: Path | None
    stages: tuple[str, ...]
    rate_scale: float

    def placed(self, net: Any) -> Any:
        """Move a network to the device, on a GPU with channels last."""
        order = torch.channels_last if self.device.type == "cuda" else torch.preserve_format
        return nn.Module.to(net, self.device, memory_format=order)  # pyright: ignore

    def budget(self, stage: str) -> Budget:
        """Budget of a stage."""
        share = SHARES[stage] / sum(SHARES[name] for name in self.stages)
        minutes = None if self.minutes is None else self.minutes * share
        return Budget(steps=max(1, round(STEPS[stage] * self.steps_scale)), minutes=minutes)


def read_options(description: str | None) -> Options:
    """Read the options of the command line; exits with a sentence if they do not fit."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="run folder; an existing one is resumed")
    parser.add_argument("--places", type=int, default=420, help="places to render (default: 420)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="renderers")
    parser.add_argument(
        "--minutes", type=float, help="training time of all stages together, instead of steps"
    )
    parser.add_argument("--batch", type=int, default=16, help="batch of the denoiser")
    parser.add_argument("--vae-batch", type=int, default=16, help="batch of the autoencoder")
    parser.add_argument("--steps-scale", type=float, default=1.0, help="factor of all steps")
    parser.add_argument("--no-perceptual", action="store_true", help="train without features")
    parser.add_argument("--pieces", type=Path, help="folder for the result as a tar in pieces")
    parser.add_argument("--sheet-rows", type=int, default=12, help="held-out places on the sheet")
    parser.add_argument("--log-seconds", type=float, default=60, help="time between log lines")
    parser.add_argument("--start", type=Path, help="family folder whose weights to start from")
    parser.add_argument(
        "--stages", nargs="+", choices=list(STEPS), default=list(STEPS), help="stages to train"
    )
    parser.add_argument("--rate-scale", type=float, default=1.0, help="factor of learning rates")
    given = parser.parse_args()
    if given.start is None and given.stages != list(STEPS):
        parser.error("--stages needs --start, whose networks the other stages keep")
    return Options(
        run=given.run,
        places=given.places,
        processes=given.processes,
        device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
        minutes=given.minutes,
        batch=given.batch,
        vae_batch=given.vae_batch,
        steps_scale=given.steps_scale,
        perceptual=not given.no_perceptual,
        pieces=given.pieces,
        sheet_rows=given.sheet_rows,
        log_seconds=given.log_seconds,
        start=given.start,
        stages=tuple(given.stages),
        rate_scale=given.rate_scale,
    )
