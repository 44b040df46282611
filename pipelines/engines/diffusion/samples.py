"""Samples: requests, validated and embedded, with their noise."""

import functools
import hashlib
import math
from pathlib import Path

import numpy as np
import torch

from nightrain.datasets.errors import InvalidRequest
from nightrain.pipelines.engines.base import Request
from nightrain.pipelines.engines.diffusion.embeddings import Conditioner, Style
from nightrain.pipelines.engines.diffusion.models.families import FAMILIES
from nightrain.pipelines.engines.diffusion.models.loading import Models
from nightrain.pipelines.engines.diffusion.models.settings import DiffusionSettings
from nightrain.pipelines.engines.diffusion.models.styles import StylePool
from nightrain.pipelines.engines.diffusion.network_inputs import Sample
from nightrain.pipelines.engines.diffusion.steps import Steps, make_scheduler, tabulate


class SampleMaker:
    """Turns requests into samples on the models' device."""

    def __init__(self, models: Models, settings: DiffusionSettings) -> None:
        self._models = models
        self._settings = settings
        self._conditioner = Conditioner(models)
        self._pool = StylePool(Path(settings.style_pool)) if settings.style_pool else None
        self._steps = functools.cache(self._tabulate)

    @torch.no_grad()
    def make(self, request: Request) -> Sample:
        """Embed a request and draw its noise; raises InvalidRequest, DamagedInput."""
        settings, see = self._settings, self._conditioner
        generator = torch.Generator().manual_seed(request.seed)
        steps = self.steps(request)
        start = self._start(request, steps, generator)
        noises = {
            k: self._noise(start.shape, generator)
            for k in range(steps.first, len(steps))
            if steps.draws_noise(k)
        }
        style, style_id = self._style(request)
        return Sample(
            steps=steps,
            text=see.text(request.prompt),
            negative=see.negative(settings.negative_prompt if settings.guided else ""),
            style=style,
            style_id=style_id,
            controls=tuple(see.control(i, c) for i, c in enumerate(request.control_images)),
            start=start,
            noises=noises,
        )

    def steps(self, request: Request) -> Steps:
        """Return the steps of a request: all, or the last ones according to its strength."""
        return self._steps(strength_of(request, self._settings))

    def _tabulate(self, strength: float | None) -> Steps:
        config = self._models.pipe.scheduler.config
        scheduler = make_scheduler(self._settings.scheduler, config)
        return tabulate(scheduler, self._settings.steps, strength)

    def _start(self, request: Request, steps: Steps, generator: torch.Generator) -> torch.Tensor:
        """Initial latents (4, h, w) of the loop."""
        factor = self._models.pipe.vae_scale_factor
        height, width = (side // factor for side in request.image.shape[:2])
        if self._settings.mode == "text2image":
            channels = self._models.pipe.unet.config.in_channels
            return self._noise((channels, height, width), generator) * steps.start_noise
        image = self._conditioner.image_latents(request.image, generator)
        noise = self._noise(image.shape, generator)
        return steps.start_image * image + steps.start_noise * noise

    def _noise(self, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        # Drawn on the host, in float32: the same on every device and in every precision.
        return torch.randn((1, *shape), generator=generator)[0].to(self._models.device)

    def _style(self, request: Request) -> tuple[Style | None, str]:
        if self._settings.ip_adapter is None:
            return None, ""
        image = request.style_image
        if image is not None:
            name = request.style_id or hashlib.sha256(image.tobytes()).hexdigest()[:16]
            return self._conditioner.style(name, lambda: image), name
        if self._pool is None:
            raise ValueError(
                f"sample {request.sample_id!r} has no style_image; the IP-Adapter needs one. Give "
                "one, or name a style_pool in the settings."
            )
        pool, name = self._pool, self._pool.draw(request.condition, request.seed)
        return self._conditioner.style(name, lambda: pool.read(name)), name


def strength_of(request: Request, settings: DiffusionSettings) -> float | None:
    """Strength of image2image, from the severity; None for text2image."""
    if settings.mode == "text2image":
        return None
    lowest, highest = settings.strength
    strength = lowest + (highest - lowest) * request.severity
    kept = min(int(settings.steps * strength), settings.steps)
    return kept / settings.steps + 1e-9  # rounded to whole steps, so that equal tables are shared


def check_request(request: Request, settings: DiffusionSettings, multiple: int) -> None:
    """Raise ValueError for an invalid request, InvalidRequest for an unsupported size."""
    height, width = request.image.shape[:2]
    largest = FAMILIES[settings.family].largest_pixels
    if width % multiple or height % multiple or width * height > largest:
        raise InvalidRequest(
            f"sample {request.sample_id!r} is {width}x{height}; the family {settings.family!r} "
            f"supports sides divisible by {multiple} and at most {largest} pixels. Set "
            "generation_width accordingly, or leave it out."
        )
    problem = _problem(request, settings)
    if problem:
        raise ValueError(f"sample {request.sample_id!r}: {problem}")


def _problem(request: Request, settings: DiffusionSettings) -> str:
    if request.condition not in settings.conditions:
        return f"condition {request.condition!r} is not supported"
    if not (math.isfinite(request.severity) and 0 <= request.severity <= 1):
        return f"severity is {request.severity}; expected a number in [0, 1]"
    if not 0 <= request.seed < 2**63:
        return f"seed is {request.seed}; expected 0 to 2^63 - 1"
    if not request.prompt.strip():
        return "the prompt is empty; expected the condition's phrase and a caption"
    if len(request.control_images) != len(settings.controls):
        kinds = ", ".join(c.kind for c in settings.controls) or "none"
        return f"{len(request.control_images)} control images; expected one for each of: {kinds}"
    for image in (request.image, *request.control_images):
        if image.dtype != np.uint8 or image.shape != (*request.image.shape[:2], 3):
            found = f"{image.dtype} {image.shape}"
            return f"an image is {found}; expected uint8, all of the frame's size, 3 channels"
    return ""
