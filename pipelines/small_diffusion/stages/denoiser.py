"""Denoiser stages: text encoder and UNet from scratch, then both with a ControlNet."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import nn
from transformers import CLIPTokenizer

from nightrain.pipelines.small_diffusion.data.pool import Pool
from nightrain.pipelines.small_diffusion.stages.graphs import Tensors
from nightrain.pipelines.small_diffusion.stages.stage import Budget, Losses, Stage, autocast

NO_TEXT, NO_CONTROL = 0.1, 0.15  # shares of samples without prompt, and without control image
HELD_OUT_STEPS = (100, 300, 500, 700, 900)
RATE = 6e-4  # peak learning rate at a batch of 128 or more


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """Noisy latents, the velocity to predict and what conditions it."""

    noisy: torch.Tensor  # (B, C, h, w)
    target: torch.Tensor  # (B, C, h, w), velocity
    steps: torch.Tensor  # (B,)
    token_ids: torch.Tensor  # (B, T)
    numbers: torch.Tensor  # (B,) of the views
    flipped: torch.Tensor  # (B,) bool

    def tensors(self) -> dict[str, torch.Tensor]:
        """Fields by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def of(cls, tensors: Tensors) -> "TrainingBatch":
        """Batch of the fields among named tensors."""
        return cls(**{field.name: tensors[field.name] for field in fields(cls)})


def uniform(size: int, generator: torch.Generator) -> torch.Tensor:
    """Draw numbers (size,) in [0, 1)."""
    return torch.rand(size, generator=generator, device=generator.device)


class LatentPool:
    """Latents and token ids of a pool, both also for the mirrored images."""

    def __init__(
        self, pool: Pool, vae: Any, tokenizer: CLIPTokenizer, scheduler: DDIMScheduler
    ) -> None:
        self.pool, self.vae, self.tokenizer, self.scheduler = pool, vae, tokenizer, scheduler
        self.latents = torch.empty(0)
        self.token_ids = torch.empty(0)
        self.no_text = self._ids([""])[0]
        self.refresh()

    def refresh(self) -> None:
        """Read new places and encode them."""
        self.pool.refresh()
        done = len(self.latents)
        if done == len(self.pool):
            return
        numbers = torch.arange(done, len(self.pool), device=self.pool.device)
        latents = torch.cat([self._encode(part) for part in numbers.split(64)])
        texts = self.pool.prompts[done:]
        ids = self._ids(texts.ravel().tolist()).reshape(*texts.shape, -1)
        self.latents = latents if done == 0 else torch.cat([self.latents, latents])
        self.token_ids = ids if done == 0 else torch.cat([self.token_ids, ids])

    @torch.no_grad()
    def _encode(self, numbers: torch.Tensor) -> torch.Tensor:
        """Latents (B, 2, C, h, w) float16 of images and mirrored images."""
        images = self.pool.images(numbers)
        both = [self.vae.encode(i).latent_dist.mode() for i in (images, images.flip(-1))]
        return torch.stack(both, 1).half()

    def _ids(self, texts: list[str]) -> torch.Tensor:
        length = self.tokenizer.model_max_length
        ids = self.tokenizer(texts, padding="max_length", max_length=length, truncation=True)
        return torch.tensor(ids["input_ids"], device=self.pool.device)

    def batch(
        self, size: int, generator: torch.Generator, no_text: float = NO_TEXT
    ) -> TrainingBatch:
        """Draw views, prompts, noise and steps."""

        def draw(high: int) -> torch.Tensor:
            return torch.randint(high, (size,), generator=generator, device=self.pool.device)

        numbers, flipped, prompt = draw(len(self.latents)), draw(2), draw(self.token_ids.shape[1])
        ids = self.token_ids[numbers, prompt]
        without = uniform(size, generator) < no_text
        ids = torch.where(without[:, None], self.no_text, ids)
        return self._noised(numbers, flipped, draw(1000), ids, generator)

    def fixed_batch(self, step: int, generator: torch.Generator, limit: int) -> TrainingBatch:
        """Views spread over the pool, with their first prompts, all at one step."""
        size = min(limit, len(self.latents))
        numbers = torch.linspace(0, len(self.latents) - 1, size).long().to(self.pool.device)
        steps, ids = torch.full_like(numbers, step), self.token_ids[numbers, 0]
        return self._noised(numbers, torch.zeros_like(numbers), steps, ids, generator)

    def _noised(
        self,
        numbers: torch.Tensor,
        flipped: torch.Tensor,
        steps: torch.Tensor,
        ids: torch.Tensor,
        generator: torch.Generator,
    ) -> TrainingBatch:
        clean = self.latents[numbers, flipped].float()
        noise = torch.randn(clean.shape, generator=generator, device=clean.device)
        noisy = self.scheduler.add_noise(clean, noise, steps)  # pyright: ignore
        target = self.scheduler.get_velocity(clean, noise, steps)  # pyright: ignore
        return TrainingBatch(noisy, target, steps, ids, numbers, flipped.bool())


@dataclass(kw_only=True)
class Denoiser:
    """Networks that predict the velocity."""

    unet: Any  # UNet2DConditionModel
    text_encoder: Any  # CLIPTextModel
    controlnet: Any = None  # ControlNetModel

    def predict(
        self,
        batch: TrainingBatch,
        controls: torch.Tensor | None,
        with_control: torch.Tensor | None = None,
        style: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Predict the velocity (B, C, h, w); `with_control` (B,) switches the ControlNet."""
        text = self.text_encoder(batch.token_ids).last_hidden_state
        extra: dict[str, Any] = (
            {} if style is None else {"added_cond_kwargs": {"image_embeds": [style]}}
        )
        if controls is not None and self.controlnet is not None:
            down, mid = self.controlnet(
                batch.noisy, batch.steps, text, controlnet_cond=controls, return_dict=False
            )
            if with_control is not None:
                keep = with_control[:, None, None, None].to(mid.dtype)
                down, mid = [d * keep for d in down], mid * keep
            extra["down_block_additional_residuals"] = down
            extra["mid_block_additional_residual"] = mid
        return self.unet(batch.noisy, batch.steps, text, **extra).sample


def train_unet(
    denoiser: Denoiser,
    train: LatentPool,
    held_out: LatentPool,
    folder: Path,
    budget: Budget,
    *,
    batch: int,
    log_seconds: float,
    rate_scale: float = 1.0,
) -> None:
    """Train UNet and text encoder, or, with a ControlNet, all three, in place."""
    parts: dict[str, nn.Module] = {"unet": denoiser.unet, "text_encoder": denoiser.text_encoder}
    if denoiser.controlnet is not None:
        parts["controlnet"] = denoiser.controlnet

    with_controls = denoiser.controlnet is not None

    def draw(generator: torch.Generator) -> Tensors:
        drawn = train.batch(batch, generator)
        inputs = drawn.tensors()
        if with_controls:
            inputs["controls"] = train.pool.control_images(drawn.numbers, drawn.flipped)
            inputs["with_control"] = uniform(batch, generator) >= NO_CONTROL
        return inputs

    def losses(inputs: Tensors) -> Losses:
        drawn = TrainingBatch.of(inputs)
        with autocast(drawn.noisy.device):
            made = denoiser.predict(drawn, inputs.get("controls"), inputs.get("with_control"))
        return {"loss": nn.functional.mse_loss(made.float(), drawn.target)}

    stage = Stage(
        name="unet" if denoiser.controlnet is None else "controlnet",
        folder=folder,
        networks=parts,
        budget=budget,
        rate=rate_scale * RATE * min(1.0, batch / 128) ** 0.5,
        log_seconds=log_seconds,
        every_log=lambda: held_out_losses(denoiser, held_out, limit=max(8, batch // 2)),
        refresh=train.refresh,
    )
    stage.run(draw, losses)


@torch.no_grad()
def held_out_losses(denoiser: Denoiser, pool: LatentPool, limit: int = 128) -> Mapping[str, float]:
    """Losses on held-out views: as given, with shuffled prompts, and with shuffled controls."""
    found: dict[str, list[float]] = {}
    for step in HELD_OUT_STEPS:
        generator = torch.Generator(pool.pool.device).manual_seed(step)
        drawn = pool.fixed_batch(step, generator, limit)
        order = torch.randperm(len(drawn.numbers), generator=generator, device=generator.device)
        other = replace(drawn, token_ids=drawn.token_ids[order])
        controls = other_controls = None
        if denoiser.controlnet is not None:
            controls = pool.pool.control_images(drawn.numbers, drawn.flipped)
            other_controls = controls[order]
        cases = {"held_out": (drawn, controls), "other_text": (other, controls)}
        if controls is not None:
            cases["other_control"] = (drawn, other_controls)
        for name, (given, shown) in cases.items():
            with autocast(drawn.noisy.device):
                made = denoiser.predict(given, shown)
            found.setdefault(name, []).append(
                float(nn.functional.mse_loss(made.float(), drawn.target))
            )
    return {name: sum(values) / len(values) for name, values in found.items()}
