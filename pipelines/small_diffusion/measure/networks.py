"""Figures of the networks without sampling: reconstruction and held-out velocity losses."""

from collections.abc import Iterator
from typing import Any

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import nn

from nightrain.pipelines.small_diffusion.data.pool import Pool
from nightrain.pipelines.small_diffusion.measure.figures import Figure
from nightrain.pipelines.small_diffusion.stages.autoencoder import psnr_db
from nightrain.pipelines.small_diffusion.stages.denoiser import (
    Denoiser,
    LatentPool,
    held_out_losses,
)
from nightrain.pipelines.small_diffusion.start import Start

PSNR_GOAL_DB = 28.0
PSNR_VIEWS, LOSS_VIEWS = 120, 48


def reconstruction_figures(start: Start, pool: Pool) -> Iterator[Figure]:
    """Reconstruction of held-out views by the autoencoder."""
    vae = _placed(start.vae(), pool)
    yield Figure(
        measure="autoencoder",
        name="PSNR, all conditions",
        value=psnr_db(vae, pool, PSNR_VIEWS),
        unit="dB",
        goal=PSNR_GOAL_DB,
        references={"constant: mean colour of each view": _constant_psnr_db(pool, PSNR_VIEWS)},
        samples=min(PSNR_VIEWS, len(pool)),
        seeds="none",
    )


def _constant_psnr_db(pool: Pool, limit: int) -> float:
    numbers = torch.linspace(0, len(pool) - 1, min(limit, len(pool))).long()
    images = pool.images(numbers.to(pool.device))
    error = ((images - images.mean((2, 3), keepdim=True)) / 2).square().mean((1, 2, 3))
    return float((-10 * error.log10()).mean())


def loss_figures(start: Start, pool: Pool, limit: int = LOSS_VIEWS) -> Iterator[Figure]:
    """Velocity loss on held-out views, with the right and with shuffled conditioning."""
    losses = velocity_losses(start, pool, limit)
    yield Figure(
        measure="velocity loss",
        name="right control and prompt",
        value=losses["held_out"],
        goal=min(losses["other_control"], losses["other_text"]),
        lower_is_better=True,
        references={
            "shuffled control": losses["other_control"],
            "shuffled prompt": losses["other_text"],
            "constant: no velocity": 1.0,
        },
        samples=min(limit, len(pool)),
        seeds="100, 300, 500, 700, 900",
    )


def velocity_losses(start: Start, pool: Pool, limit: int) -> dict[str, float]:
    """Return `held_out_losses` of a family folder."""
    vae = _placed(start.vae(), pool)
    tokenizer, unet = start.tokenizer([]), start.unet()
    denoiser = Denoiser(
        unet=_placed(unet, pool),
        text_encoder=_placed(start.text_encoder(tokenizer), pool),
        controlnet=_placed(start.controlnet(unet), pool),
    )
    assert start.folder is not None
    scheduler: Any = DDIMScheduler.from_pretrained(start.folder / "base/scheduler")
    latents = LatentPool(pool.spread(limit), vae, tokenizer, scheduler)
    return dict(held_out_losses(denoiser, latents, limit))


def _placed(net: nn.Module, pool: Pool) -> Any:
    """Network on the pool's device, not to be trained."""
    return nn.Module.to(net, pool.device).eval().requires_grad_(False)
