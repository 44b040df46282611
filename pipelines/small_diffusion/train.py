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

import io
import json
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.utils import logging as diffusers_logging
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
from nightrain.pipelines.small_diffusion.options import Options, read_options
from nightrain.pipelines.small_diffusion.sheet import write_sheet
from nightrain.pipelines.small_diffusion.stages.autoencoder import (
    normalise_latents,
    train_autoencoder,
)
from nightrain.pipelines.small_diffusion.stages.decoder import train_decoder
from nightrain.pipelines.small_diffusion.stages.denoiser import Denoiser, LatentPool, train_unet
from nightrain.pipelines.small_diffusion.stages.rehearsal import rehearse
from nightrain.pipelines.small_diffusion.stages.style import adapter_weights, train_style
from nightrain.pipelines.small_diffusion.start import Start

PIECE_BYTES = 15 * 2**20


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
        if "decoder" in options.stages:
            _write(options, vae, denoiser, tokenizer)  # what an interruption leaves
            _train_on_pixels("decoder", options, vae, train_pool, held_out_pool)
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
    _train_on_pixels("autoencoder", options, vae, train_pool, held_out)
    vae.requires_grad_(False).eval()
    print(json.dumps(normalise_latents(vae, train_pool)), flush=True)
    return vae


def _train_on_pixels(
    stage: Literal["autoencoder", "decoder"],
    options: Options,
    vae: AutoencoderKL,
    train_pool: Pool,
    held_out: Pool,
) -> None:
    run = {"autoencoder": train_autoencoder, "decoder": train_decoder}[stage]
    with timed(stage):
        run(
            vae,
            train_pool,
            held_out,
            options.run,
            options.budget(stage),
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
    options = read_options(__doc__)
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    diffusers_logging.disable_progress_bar()
    try:
        train(options)
    except InvalidRequest as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
