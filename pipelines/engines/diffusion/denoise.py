"""Denoising loop: one batch of fixed shape from noise to latents, without waiting for the host.

It computes the same result as the ControlNet pipelines of diffusers, with these differences: the
scheduler is a table (steps.py), control images are embedded beforehand, a control outside its
window is not run, and after `guidance_until` the batch has no negative half. Windows and cut-off
are shares of the steps that run, so that rows of image2image, which begin at different steps, may
differ in the controls and the guidance of a step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from nightrain.pipelines.engines.diffusion.controlnets import Controls, control_residuals
from nightrain.pipelines.engines.diffusion.feature_cache import forget_features
from nightrain.pipelines.engines.diffusion.models.settings import DiffusionSettings
from nightrain.pipelines.engines.diffusion.models.windows import acts, is_guided
from nightrain.pipelines.engines.diffusion.network_inputs import Networks, Rows, Sample, make_rows
from nightrain.pipelines.engines.diffusion.steps import Steps
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
    plan = [_plan_of_step(samples, settings, k) for k in range(first, len(scales))]
    plan = [step.to(device) for step in plan]

    forget_features((networks.unet, *networks.controlnets))
    terms = _terms(samples)  # (B, 1 + 2 S, 4 h w): start, outputs, noises
    latents = terms[:, 0].float().unflatten(1, shape)
    for k in range(first, len(scales)):
        step = plan[k - first]
        rows = both if both is not None and step.guided else alone
        seen = (latents * scales[k]).to(networks.dtype)
        output = _predict(networks, rows, seen, timesteps[k], step.controls)
        if rows is both:
            without, with_prompt = output.float().chunk(2)
            output = without + settings.guidance * (with_prompt - without)
            if step.guided_rows is not None:
                output = torch.where(step.guided_rows, output, with_prompt)
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


@dataclass(frozen=True, slots=True)
class _Step:
    """Controls and guidance of the rows at one step."""

    guided: bool  # whether the batch has a negative half
    guided_rows: torch.Tensor | None  # (B, 1, 1, 1) bool; None: all rows are alike
    # Scales of the controls, and the rows (B, 1, 1, 1) bool that have them; None: all rows
    controls: Controls

    def to(self, device: torch.device) -> "_Step":
        """Copy to a device without waiting for it."""

        def moved(rows: torch.Tensor | None) -> torch.Tensor | None:
            return None if rows is None else to_device(rows, device)

        controls = tuple((scales, moved(rows)) for scales, rows in self.controls)
        return _Step(self.guided, moved(self.guided_rows), controls)


def _plan_of_step(samples: Sequence[Sample], settings: DiffusionSettings, k: int) -> _Step:
    """Plan step k of the schedule; rows that have not begun follow the others.

    Whether there is a negative half depends on the settings alone: the last bits of a row must not
    depend on the other rows of its batch.
    """
    until, size = settings.guidance_until, len(samples[0].steps)
    may_run = [n for n in settings.numbers_of_steps if k >= size - n]
    half = settings.guided and any(is_guided(k - size + n, n, until) for n in may_run)
    steps = [sample.steps for sample in samples]
    scales = [_control_scales(settings, s, k) if k >= s.first else None for s in steps]
    guided = [k < s.first or is_guided(k - s.first, s.num_run, until) for s in steps]
    distinct = dict.fromkeys(s for s in scales if s is not None)
    return _Step(
        guided=half,
        guided_rows=None if all(guided) else _rows_of(guided),
        controls=tuple(
            (s, None if len(distinct) == 1 else _rows_of([s == other for other in scales]))
            for s in distinct
            if any(s)
        ),
    )


def _rows_of(chosen: Sequence[bool]) -> torch.Tensor:
    return torch.tensor(chosen)[:, None, None, None]


def _control_scales(settings: DiffusionSettings, steps: Steps, k: int) -> tuple[float, ...]:
    """Scale of each control at step k of the schedule, 0 outside its window."""
    return tuple(
        c.scale if acts(k - steps.first, steps.num_run, c.start, c.end) else 0.0
        for c in settings.controls
    )


def _predict(
    networks: Networks,
    rows: Rows,
    latents: torch.Tensor,
    timestep: torch.Tensor,
    controls: Controls,
) -> torch.Tensor:
    """Run the UNet: output (R, 4, h, w) for latents (B, 4, h, w), R = B or 2 B."""
    seen = torch.cat([latents] * rows.per_sample).contiguous(memory_format=networks.memory_format)
    down, middle = control_residuals(networks, rows, seen, timestep, controls)
    style = {"image_embeds": list(rows.style)} if rows.style else {}
    return networks.unet(
        seen,
        timestep,
        encoder_hidden_states=rows.tokens,
        down_block_additional_residuals=down,
        mid_block_additional_residual=middle,
        added_cond_kwargs=(rows.added | style) or None,
        return_dict=False,
    )[0]
