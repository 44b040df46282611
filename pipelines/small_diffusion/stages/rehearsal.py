"""Rehearsal of stages on random views, while the first places are still being rendered.

A GPU chooses kernels for each shape at its first step, which takes longer than hundreds of later
steps (a minute for all stages on an H200), and a step that cannot be recorded as a graph is
reported before any time is spent on it.
"""

from collections.abc import Callable, Collection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from nightrain.pipelines.small_diffusion.data.pool import Pool
from nightrain.pipelines.small_diffusion.data.views import SIZE
from nightrain.pipelines.small_diffusion.networks import architecture as small
from nightrain.pipelines.small_diffusion.stages.autoencoder import train_autoencoder
from nightrain.pipelines.small_diffusion.stages.decoder import train_decoder
from nightrain.pipelines.small_diffusion.stages.denoiser import Denoiser, LatentPool, train_unet
from nightrain.pipelines.small_diffusion.stages.graphs import WARM_UP_STEPS
from nightrain.pipelines.small_diffusion.stages.stage import Budget
from nightrain.pipelines.small_diffusion.stages.style import train_style

GROUP = 4  # views of a group


class RandomPool(Pool):
    """Pool of random pixels in the shapes of real views; it does not grow."""

    def __init__(self, folder: Path, device: torch.device, count: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.folder, self.device, self.held_out = folder, device, False
        shape = (count, SIZE[1], SIZE[0])
        pixels = torch.randint(256, (*shape, 3), dtype=torch.uint8, generator=generator)
        self.pixels, self.controls = pixels.to(device), pixels[..., 0].to(device)
        self.condition = self.group = np.arange(count) // GROUP
        self.prompts = np.full((count, 1), "a street at night")

    def refresh(self) -> int:
        """Return 0: there are no new views."""
        return 0


def rehearse(
    device: torch.device,
    placed: Callable[[Any], Any],
    *,
    batch: int,
    vae_batch: int,
    perceptual: bool,
    stages: Collection[str],
    steps: int = WARM_UP_STEPS + 15,
) -> None:
    """Run some steps of stages with new networks; `placed` moves a network to the device."""
    pixels: dict[str, Any] = {"batch": vae_batch, "perceptual": perceptual, "log_seconds": 1e9}
    latent: dict[str, Any] = {"batch": batch, "log_seconds": 1e9}
    pool, vae = RandomPool(Path(), device, 2 * batch), placed(small.new_autoencoder())
    with TemporaryDirectory() as name:
        run = (Path(name), Budget(steps=steps))
        if "autoencoder" in stages:
            train_autoencoder(vae, pool, pool, *run, **pixels)
        if "decoder" in stages:
            train_decoder(vae, pool, pool, *run, **pixels)
        tokenizer = small.new_tokenizer(pool.prompts.ravel().tolist())
        vae.requires_grad_(False).eval()
        latents = LatentPool(pool, vae, tokenizer, small.new_scheduler())
        unet, text_encoder = small.new_unet(), small.new_text_encoder(tokenizer)
        denoiser = Denoiser(unet=placed(unet), text_encoder=placed(text_encoder))
        if "unet" in stages:
            train_unet(denoiser, latents, latents, *run, **latent)
        denoiser.controlnet = placed(small.new_controlnet(unet))
        if "controlnet" in stages:
            train_unet(denoiser, latents, latents, *run, **latent)
        if "style" in stages:
            image_encoder = placed(small.new_image_encoder())
            train_style(denoiser, image_encoder, latents, *run, **latent)
