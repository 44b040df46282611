"""Autoencoder stage: pixels, edges and ImageNet features, with a weak prior on the latents."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nightrain.depthmodel.network.image_features import (
    ImageFeatures,
    perceptual_distance,
)
from nightrain.pipelines.small_diffusion.data.pool import Pool
from nightrain.pipelines.small_diffusion.stages.graphs import Tensors
from nightrain.pipelines.small_diffusion.stages.stage import Budget, Losses, Stage, autocast

PRIOR_WEIGHT = 1e-4
PERCEPTUAL_WEIGHT = 0.03
LEVELS_OF_FEATURES = 3
SQUARED_WEIGHT = 2.0  # beside L1: large errors decide the PSNR
EDGE_WEIGHT = 0.5
CROP = 128  # width of the training crops


def train_autoencoder(
    vae: Any,
    train: Pool,
    held_out: Pool,
    folder: Path,
    budget: Budget,
    *,
    batch: int,
    perceptual: bool,
    log_seconds: float,
    rate_scale: float = 1.0,
) -> None:
    """Train the autoencoder in place; the held-out PSNR is logged."""
    features = ImageFeatures(LEVELS_OF_FEATURES).to(train.device) if perceptual else None

    def draw(generator: torch.Generator) -> Tensors:
        return {"images": crops(train, batch, generator)}

    stage = Stage(
        name="autoencoder",
        folder=folder,
        networks={"vae": vae},
        budget=budget,
        rate=rate_scale * 8e-4,
        average=0.998,
        log_seconds=log_seconds,
        every_log=lambda: {
            "psnr_db": psnr_db(vae, held_out, limit=2 * batch),
            "views": float(len(train)),
        },
        refresh=train.refresh,
    )
    stage.run(draw, lambda inputs: losses(vae, inputs["images"], features))


def crops(pool: Pool, size: int, generator: torch.Generator) -> torch.Tensor:
    """Draw crops (B, 3, H, 128) of full height from random views, half of them mirrored."""
    height, width = pool.pixels.shape[1:3]

    def draw(high: int) -> torch.Tensor:
        return torch.randint(high, (size, 1), generator=generator, device=pool.device)

    columns = draw(width - CROP + 1) + torch.arange(CROP, device=pool.device)
    columns = torch.where(draw(2) > 0, columns.flip(-1), columns)
    rows = torch.arange(height, device=pool.device)
    pixels = pool.pixels[draw(len(pool))[..., None], rows[:, None], columns[:, None, :]]
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


def losses(vae: Any, images: torch.Tensor, features: ImageFeatures | None) -> Losses:
    """Losses of a batch of images (B, 3, H, W) in [-1, 1]."""
    with autocast(images.device):
        posterior = vae.encode(images).latent_dist
        made = vae.decode(posterior.sample()).sample
    found = reconstruction_losses(made.float(), images, features)
    prior = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).float().mean()
    return {"loss": found["total"] + PRIOR_WEIGHT * prior, **found, "prior": prior}


def reconstruction_losses(
    made: torch.Tensor, images: torch.Tensor, features: ImageFeatures | None
) -> dict[str, torch.Tensor]:
    """Losses of decoded images (B, 3, H, W) float32, and their weighted sum "total"."""
    with autocast(images.device):
        far = perceptual_distance(features, made, images) if features else images.new_zeros(())
    found = {
        "l1": nn.functional.l1_loss(made, images),
        "squared": nn.functional.mse_loss(made, images),
        "edges": _edge_loss(made, images),
        "perceptual": far.float(),
    }
    total = found["l1"] + SQUARED_WEIGHT * found["squared"] + EDGE_WEIGHT * found["edges"]
    return {"total": total + PERCEPTUAL_WEIGHT * found["perceptual"], **found}


def _edge_loss(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    rows = nn.functional.l1_loss(a.diff(dim=-1), b.diff(dim=-1))
    return rows + nn.functional.l1_loss(a.diff(dim=-2), b.diff(dim=-2))


def psnr_db(vae: Any, pool: Pool, limit: int = 96) -> float:
    """Mean over images of the reconstruction's peak signal-to-noise ratio, decibels."""
    found = [
        -10 * ((made - images) / 2).square().mean((1, 2, 3)).log10()
        for images, made in _reconstructions(vae, pool, limit)
    ]
    return float(torch.cat(found).mean())


def contrast(vae: Any, pool: Pool, limit: int = 96) -> float:
    """Local contrast of the reconstructions, as a share of the images' own."""
    true, found = 0.0, 0.0
    for images, made in _reconstructions(vae, pool, limit):
        true += float(images.diff(dim=-1).abs().sum() + images.diff(dim=-2).abs().sum())
        found += float(made.diff(dim=-1).abs().sum() + made.diff(dim=-2).abs().sum())
    return found / true


@torch.no_grad()
def _reconstructions(
    vae: Any, pool: Pool, limit: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Images of views spread over the pool, in batches, and what the autoencoder makes of them."""
    numbers = torch.linspace(0, len(pool) - 1, min(limit, len(pool))).long().to(pool.device)
    for part in numbers.split(32):
        images = pool.images(part)
        with autocast(pool.device):
            made = vae.decode(vae.encode(images).latent_dist.mode()).sample
        yield images, made.float().clamp(-1, 1)


@torch.no_grad()
def normalise_latents(vae: Any, pool: Pool, limit: int = 2048) -> Mapping[str, float]:
    """Fold the mean and deviation of each latent channel into the 1x1 convolutions around them.

    Afterwards the latents have mean 0 and variance 1, so that `scaling_factor` is 1.
    """
    numbers = torch.linspace(0, len(pool) - 1, min(limit, len(pool))).long().to(pool.device)
    latents = torch.cat([vae.encode(pool.images(n)).latent_dist.mode() for n in numbers.split(32)])
    mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    before, after = vae.quant_conv, vae.post_quant_conv
    assert before is not None and after is not None and before.bias is not None
    channels = len(mean)
    before.weight[:channels] /= deviation[:, None, None, None]
    before.bias[:channels] = (before.bias[:channels] - mean) / deviation
    before.bias[channels:] -= 2 * deviation.log()  # the second half is the log-variance
    assert after.bias is not None
    after.bias += (after.weight[:, :, 0, 0] @ mean[:, None])[:, 0]
    after.weight *= deviation[None, :, None, None]
    return {"least_std": float(deviation.min()), "largest_std": float(deviation.max())}
