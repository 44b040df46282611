"""Denoising loop: one batch of fixed shape from noise to latents, without waiting for the host.

It computes the same result as the ControlNet pipelines of diffusers, with these differences: the
scheduler is a table (steps.py), control images are embedded beforehand, a control outside its
window is not run, and after `guidance_until` the batch has no negative half. Windows and cut-off
are shares of the whole schedule, even if image2image starts in the middle of it.
"""

from collections.abc import Sequence

import torch

from nightrain.pipelines.engines.diffusion.controlnets import control_residuals
from nightrain.pipelines.engines.diffusion.feature_cache import forget_features
from nightrain.pipelines.engines.diffusion.models.settings import DiffusionSettings
from nightrain.pipelines.engines.diffusion.network_inputs import Networks, Rows, Sample, make_rows
from nightrain.pipelines.engines.diffusion.transfer import to_device


@torch.no_grad()
def denoise(
    networks: Networks, samples: Sequence[Sample], settings: DiffusionSettings
) -> torch.Tensor:
    """Denoise B samples of one size and schedule to latents (B, 4, h, w) float32."""
    shape, device = samples[0].start.shape, samples[0].start.device
    scales = samples[0].steps.input_scales
    timesteps = to_device(samples[0].steps.timesteps, device)
    weights = torch.stack([s.steps.weights for s in samples], dim=1)[:, :, None]
    weights = to_device(weights, device)  # (S, B, 1, 1 + 2 S)
    begun = torch.tensor([[k >= s.steps.first for s in samples] for k in range(len(scales))])
    first = min(s.steps.first for s in samples)
    together = bool(begun[first:].all())
    begun = to_device(begun[:, :, None], device)  # (S, B, 1)
    both = make_rows(networks, samples, guided=True) if settings.guided else None
    alone = make_rows(networks, samples, guided=False)

    forget_features((networks.unet, *networks.controlnets))
    terms = _terms(samples)  # (B, 1 + 2 S, 4 h w): start, outputs, noises
    latents = terms[:, 0].float().unflatten(1, shape)
    for k in range(first, len(scales)):
        guided = both is not None and k / len(scales) < settings.guidance_until
        rows = both if both is not None and guided else alone
        seen = (latents * scales[k]).to(networks.dtype)
        output = _predict(networks, rows, seen, timesteps[k], _control_scales(settings, k))
        if guided:
            without, with_prompt = output.float().chunk(2)
            output = without + settings.guidance * (with_prompt - without)
        output = output.float().flatten(1)  # (B, 4 h w)
        # A row that begins later is part of the batch, but its output is not used yet.
        terms[:, 1 + k] = output if together else torch.where(begun[k], output, 0.0)
        if together:
            latents = (weights[k] @ terms)[:, 0].float().unflatten(1, shape)
        else:
            moved = torch.where(begun[k], (weights[k] @ terms)[:, 0], terms[:, 0])
            latents = moved.float().unflatten(1, shape)
    return latents


def _terms(samples: Sequence[Sample]) -> torch.Tensor:
    """Allocate the terms of the latents' weighted sum; in float64 their order does not matter."""
    steps, start = samples[0].steps, samples[0].start
    terms = start.new_zeros(len(samples), 1 + 2 * len(steps), start.numel(), dtype=torch.float64)
    for row, sample in zip(terms, samples, strict=True):
        row[0] = sample.start.flatten()
        for k, noise in sample.noises.items():
            row[1 + len(steps) + k] = noise.flatten()
    return terms


def _control_scales(settings: DiffusionSettings, k: int) -> list[float]:
    """Scale of each control at step k, 0 outside its window."""
    begin, end = k / settings.steps, (k + 1) / settings.steps
    return [c.scale if c.start <= begin and end <= c.end else 0.0 for c in settings.controls]


def _predict(
    networks: Networks,
    rows: Rows,
    latents: torch.Tensor,
    timestep: torch.Tensor,
    control_scales: Sequence[float],
) -> torch.Tensor:
    """Run the UNet: output (R, 4, h, w) for latents (B, 4, h, w), R = B or 2 B."""
    seen = torch.cat([latents] * rows.per_sample).contiguous(memory_format=networks.memory_format)
    down, middle = control_residuals(networks, rows, seen, timestep, control_scales)
    style = {} if rows.style is None else {"image_embeds": [rows.style]}
    return networks.unet(
        seen,
        timestep,
        encoder_hidden_states=rows.tokens,
        down_block_additional_residuals=down,
        mid_block_additional_residual=middle,
        added_cond_kwargs=(rows.added | style) or None,
        return_dict=False,
    )[0]
