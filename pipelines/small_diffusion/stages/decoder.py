"""Decoder stage: sharpen the decoder against a discriminator; the latents stay what they are.

Pixel losses alone draw the mean of all that a latent may stand for: facades and foliage without
texture. The adversarial loss of Esser et al. 2021 ("Taming Transformers", section 3.1) adds what
true pictures have. Its weight is relative: it is chosen in each step so that its gradient on the
pixels has a fixed share of the other losses' gradient.

Half of the latents are noisy, as those of a denoiser are: a decoder that has only seen exact ones
turns small errors into blots.
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from nightrain.depthmodel.network.image_features import ImageFeatures
from nightrain.pipelines.small_diffusion.data.pool import Pool
from nightrain.pipelines.small_diffusion.networks.discriminator import (
    PatchDiscriminator,
    scored_by_frozen,
)
from nightrain.pipelines.small_diffusion.stages.autoencoder import (
    LEVELS_OF_FEATURES,
    contrast,
    crops,
    psnr_db,
    reconstruction_losses,
)
from nightrain.pipelines.small_diffusion.stages.denoiser import uniform
from nightrain.pipelines.small_diffusion.stages.graphs import Tensors
from nightrain.pipelines.small_diffusion.stages.stage import Budget, Losses, Stage, autocast

ADVERSARIAL_SHARE = 0.4
NOISE = 0.25  # largest deviation of the noise in latents; theirs is 1
RATE = 4e-4  # peak learning rate of decoder and discriminator


def train_decoder(
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
    share: float = ADVERSARIAL_SHARE,
) -> None:
    """Train the decoder in place; the held-out PSNR and contrast are logged."""
    features = ImageFeatures(LEVELS_OF_FEATURES).to(train.device) if perceptual else None
    discriminator = PatchDiscriminator().to(train.device)
    decoder = nn.ModuleDict({"decoder": vae.decoder, "post": vae.post_quant_conv})
    decoder.requires_grad_(True).train()

    def draw(generator: torch.Generator) -> Tensors:
        noise = NOISE * (2 * uniform(batch, generator) - 1).clamp_min(0)
        return {"images": crops(train, batch, generator), "noise": noise[:, None, None, None]}

    stage = Stage(
        name="decoder",
        folder=folder,
        networks={"decoder": decoder, "discriminator": discriminator},
        budget=budget,
        rate=rate_scale * RATE,
        average=0.998,
        log_seconds=log_seconds,
        every_log=lambda: {
            "psnr_db": psnr_db(vae, held_out, limit=2 * batch),
            "contrast": contrast(vae, held_out, limit=2 * batch),
            "views": float(len(train)),
        },
        refresh=train.refresh,
    )
    stage.run(draw, lambda inputs: losses(vae, discriminator, inputs, features, share))
    vae.requires_grad_(False).eval()


def losses(
    vae: Any,
    discriminator: PatchDiscriminator,
    inputs: Tensors,
    features: ImageFeatures | None,
    share: float,
) -> Losses:
    """Losses of decoder and discriminator.

    The inputs are images (B, 3, H, W) in [-1, 1] and the noise's deviation (B, 1, 1, 1). The
    gradient of "loss" is what counts; its value mixes a surrogate with the discriminator's.
    """
    images, noise = inputs["images"], inputs["noise"]
    with autocast(images.device):
        with torch.no_grad():
            latents = vae.encode(images).latent_dist.sample().float()
            latents = (1 - noise**2).sqrt() * latents + noise * torch.randn_like(latents)
        made = vae.decode(latents).sample.float()
    shown = made.detach().requires_grad_()
    found = reconstruction_losses(shown, images, features)
    found["adversarial"] = -scored_by_frozen(discriminator, shown).mean()
    true_scores, made_scores = discriminator(images), discriminator(made.detach())
    (own,) = torch.autograd.grad(found["total"], shown)
    (adversarial,) = torch.autograd.grad(found["adversarial"], shown)
    scale = share * own.norm() / adversarial.norm().clamp_min(1e-12)
    surrogate = (made * (own + scale * adversarial)).sum()
    found["discriminator"] = 0.5 * (
        nn.functional.relu(1 - true_scores).mean() + nn.functional.relu(1 + made_scores).mean()
    )
    found["scale"] = scale
    return {"loss": surrogate + found["discriminator"], **found}
