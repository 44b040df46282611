"""Training of the small diffusion family, all stages in one command.

    python -m nightrain.pipelines.small_diffusion.train RUN                    on CPU cores: hours
    python -m nightrain.pipelines.small_diffusion.train RUN --minutes 9        on a GPU
    python -m nightrain.pipelines.small_diffusion.train RUN --start FOLDER     from given weights
    ... --start FOLDER --stages controlnet style                               some stages

Stages: views (rendered places), autoencoder, unet (with the text encoder), controlnet, decoder
(that of the autoencoder, against a discriminator), style. A stage that is not trained keeps the
networks of `--start`, its IP-Adapter included. With `--minutes`, rendering continues during the
stages before the style, and every stage gets its share of the time. Repeat the command to resume an
interrupted run. RUN/family is the result, RUN/sheet.jpg shows held-out places, RUN/log.jsonl holds
losses and held-out figures.
"""

import argparse
import io
import json
import os
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.utils import logging as diffusers_logging
from torch import nn
from transformers import CLIPTokenizer

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.atomic import write_whole
from nightrain.pipelines.small_diffusion.data.pool import Pool
from nightrain.pipelines.small_diffusion.data.rendering import Rendering, rendering
from nightrain.pipelines.small_diffusion.data.views import NUM_HELD_OUT
from nightrain.pipelines.small_diffusion.family import (
    copy_adapter,
    has_adapter,
    require_family,
    write_adapter,
    write_base,
    write_controlnet,
)
from nightrain.pipelines.small_diffusion.networks import architecture as small
from nightrain.pipelines.small_diffusion.sheet import write_sheet
from nightrain.pipelines.small_diffusion.stages.autoencoder import (
    normalise_latents,
    train_autoencoder,
)
from nightrain.pipelines.small_diffusion.stages.decoder import train_decoder
from nightrain.pipelines.small_diffusion.stages.denoiser import Denoiser, LatentPool, train_unet
from nightrain.pipelines.small_diffusion.stages.rehearsal import rehearse
from nightrain.pipelines.small_diffusion.stages.stage import Budget
from nightrain.pipelines.small_diffusion.stages.style import adapter_weights, train_style
from nightrain.pipelines.small_diffusion.start import Start

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
PIECE_BYTES = 15 * 2**20


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


def train(options: Options) -> None:
    """Run all stages.

    Raises InvalidRequest for too few places, for a start that is not a family, and if the weights
    of the perceptual loss are missing.
    """
    _check(options)
    options.run.mkdir(parents=True, exist_ok=True)
    views, family = options.run / "views", options.run / "family"
    with rendering(views, options.places, options.processes) as workers:
        if options.device.type == "cuda":
            with timed("rehearsal"):  # the first places are rendered meanwhile
                rehearse(
                    options.device,
                    options.placed,
                    batch=options.batch,
                    vae_batch=options.vae_batch,
                    perceptual=options.perceptual,
                    stages=options.stages,
                )
        _wait_for_views(workers, options)
        train_pool = Pool(views, options.device, held_out=False)
        held_out_pool = Pool(views, options.device, held_out=True)
        if not len(train_pool) or not len(held_out_pool):
            raise InvalidRequest(f"Places could not be rendered: {workers.failures()}")
        vae = _autoencoder(options, train_pool, held_out_pool)
        held_out_pool.refresh()
        start = Start(options.start)
        tokenizer = start.tokenizer(train_pool.prompts.ravel().tolist())
        scheduler = small.new_scheduler()
        latents = LatentPool(train_pool, vae, tokenizer, scheduler)
        held_out = LatentPool(held_out_pool, vae, tokenizer, scheduler)
        denoiser = Denoiser(
            unet=options.placed(start.unet()),
            text_encoder=options.placed(start.text_encoder(tokenizer)),
        )
        if "unet" in options.stages:
            _denoise(options, denoiser, latents, held_out)
        denoiser.controlnet = options.placed(start.controlnet(denoiser.unet))
        if "controlnet" in options.stages:
            _denoise(options, denoiser, latents, held_out)
        _write(options, vae, denoiser, tokenizer)
        if "decoder" in options.stages:
            _decoder(options, vae, train_pool, held_out_pool)
        failures = workers.failures()
    print(json.dumps({"views": len(train_pool), "failed_places": failures}), flush=True)
    _write(options, vae, denoiser, tokenizer)
    if "style" in options.stages:
        _style(options, denoiser, latents)
    else:
        keep_adapter(options.start, family)
    write_pieces(options)
    with timed("sheet"):
        write_sheet(family, views, options.run / "sheet.jpg", options.device, options.sheet_rows)
    write_pieces(options)


def _check(options: Options) -> None:
    if options.places <= NUM_HELD_OUT:
        raise InvalidRequest(
            f"Places 0 to {NUM_HELD_OUT - 1} are held out, so {options.places} places leave none "
            f"to train on. Pass --places {NUM_HELD_OUT + 1} or more."
        )
    if options.start is not None:
        require_family(options.start, adapter=False)


def _autoencoder(options: Options, train_pool: Pool, held_out: Pool) -> AutoencoderKL:
    """Train the autoencoder and normalise its latents, unless it is to stay as it is."""
    vae = options.placed(Start(options.start).vae())
    if "autoencoder" not in options.stages:
        return vae.requires_grad_(False).eval()
    with timed("autoencoder"):
        train_autoencoder(
            vae,
            train_pool,
            held_out,
            options.run,
            options.budget("autoencoder"),
            batch=options.vae_batch,
            perceptual=options.perceptual,
            log_seconds=options.log_seconds,
            rate_scale=options.rate_scale,
        )
        vae.requires_grad_(False).eval()
        print(json.dumps(normalise_latents(vae, train_pool)), flush=True)
    return vae


def _decoder(options: Options, vae: AutoencoderKL, train_pool: Pool, held_out: Pool) -> None:
    with timed("decoder"):
        train_decoder(
            vae,
            train_pool,
            held_out,
            options.run,
            options.budget("decoder"),
            batch=options.vae_batch,
            perceptual=options.perceptual,
            log_seconds=options.log_seconds,
            rate_scale=options.rate_scale,
        )


def _denoise(
    options: Options, denoiser: Denoiser, latents: LatentPool, held_out: LatentPool
) -> None:
    """Train UNet and text encoder, and the ControlNet once there is one."""
    stage = "unet" if denoiser.controlnet is None else "controlnet"
    with timed(stage):
        train_unet(
            denoiser,
            latents,
            held_out,
            options.run,
            options.budget(stage),
            batch=options.batch,
            log_seconds=options.log_seconds,
            rate_scale=options.rate_scale,
        )


def _style(options: Options, denoiser: Denoiser, latents: LatentPool) -> None:
    """Train the IP-Adapter and its image encoder, and write them."""
    with timed("style"):
        image_encoder = options.placed(small.new_image_encoder())
        train_style(
            denoiser,
            image_encoder,
            latents,
            options.run,
            options.budget("style"),
            batch=options.batch,
            log_seconds=options.log_seconds,
            rate_scale=options.rate_scale,
        )
        write_adapter(options.run / "family", adapter_weights(denoiser.unet), image_encoder)


def _write(
    options: Options, vae: AutoencoderKL, denoiser: Denoiser, tokenizer: CLIPTokenizer
) -> None:
    """Write the family as it is now, without the IP-Adapter."""
    family = options.run / "family"
    write_base(family, vae, denoiser.unet, denoiser.text_encoder, tokenizer)
    write_controlnet(family, denoiser.controlnet)
    write_pieces(options)


def keep_adapter(start: Path | None, family: Path) -> None:
    """Copy the start's IP-Adapter into the family, and print which one the family has now."""
    if start is not None and has_adapter(start):
        copy_adapter(start, family)
        note = f"copied from {start}; it was trained with that family's UNet"
    elif has_adapter(family):
        note = f"left from an earlier run: {start} has none"
    else:
        note = f"none: {start} has none; train the stage `style` for one"
    print(json.dumps({"ip-adapter": note}), flush=True)


def _wait_for_views(workers: Rendering, options: Options) -> None:
    """Wait for all places, or, with a budget in minutes, for the first ones."""
    with timed("views"):
        early = min(options.places, NUM_HELD_OUT + 16)
        workers.wait(None if options.minutes is None else early)


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Print how long the block took."""
    started = time.monotonic()
    yield
    print(json.dumps({"done": name, "seconds": round(time.monotonic() - started, 1)}), flush=True)


def write_pieces(options: Options) -> None:
    """Write family, log and sheet as a tar file in pieces of 15 MiB."""
    if options.pieces is None:
        return
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("family", "log.jsonl", "sheet.jpg"):
            if (options.run / name).exists():
                archive.add(options.run / name, arcname=name)
    data = buffer.getvalue()
    for number, start in enumerate(range(0, len(data), PIECE_BYTES)):
        piece = options.pieces / f"family.tar.{number}"
        write_whole(piece, data[start : start + PIECE_BYTES])


def main() -> None:
    """Read the options and train."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="run folder; an existing one is resumed")
    parser.add_argument("--places", type=int, default=420, help="places to render (default: 420)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="renderers")
    parser.add_argument("--minutes", type=float, help="training time of all stages, not steps")
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
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    diffusers_logging.disable_progress_bar()
    try:
        train(
            Options(
                run=given.run,
                places=given.places,
                processes=given.processes,
                device=device,
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
        )
    except InvalidRequest as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
