"""Samples: requests, validated and embedded, with their noise."""

import functools
import hashlib
from collections.abc import Sequence

import torch

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.registry import one_line
from nightrain.pipelines.engines.base import Request
from nightrain.pipelines.engines.diffusion.brightness import drawn_level, mean_level
from nightrain.pipelines.engines.diffusion.embeddings import Conditioner, Style
from nightrain.pipelines.engines.diffusion.models.families import require_generation_size
from nightrain.pipelines.engines.diffusion.models.loading import Models
from nightrain.pipelines.engines.diffusion.models.settings import (
    DiffusionSettings,
    NightBrightness,
)
from nightrain.pipelines.engines.diffusion.models.styles import StylePool
from nightrain.pipelines.engines.diffusion.models.windows import num_kept
from nightrain.pipelines.engines.diffusion.network_inputs import Sample
from nightrain.pipelines.engines.diffusion.steps import Steps, make_scheduler, tabulate
from nightrain.pipelines.engines.request_check import check_prompted_request
from nightrain.pipelines.engines.strengths import strength_for
from nightrain.pipelines.runs.batches import raise_if_it_ends_the_run


class SampleMaker:
    """Turns requests into samples on the models' device."""

    def __init__(self, models: Models, settings: DiffusionSettings) -> None:
        self._models = models
        self._settings = settings
        self._conditioner = Conditioner(models)
        folder = settings.pool_folder
        self._pool = None if folder is None else StylePool(folder)
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
            negative=see.negative(settings.negative_prompt if settings.guided else None),
            style=style,
            style_id=style_id,
            controls=tuple(see.control(i, c) for i, c in enumerate(request.control_images)),
            start=start,
            noises=noises,
        )

    @torch.no_grad()
    def preflight(self, conditions: Sequence[Condition]) -> None:
        """Encode what all samples share, and read every style image; raises InvalidRequest."""
        self._conditioner.negative(self._settings.negative_prompt)
        if self._pool is None:
            return
        for condition in conditions:
            self._pool.require_readable(condition)
        name = self._pool.names(conditions[0])[0]
        style, pool = None, self._pool
        try:
            style = self._conditioner.style(name, lambda: pool.read(name))
            projection = self._models.pipe.unet.encoder_hid_proj
            projection([p[None].to(self._models.dtype) for p in style.positive])
        except RuntimeError as error:
            what = "the image encoder" if style is None else "the adapter"
            raise_if_it_ends_the_run(error)
            raise InvalidRequest(
                "`ip_adapter`: its `image_encoder` does not fit its `weights`: "
                f"{what} failed on a style image ({one_line(error)}). Use the encoder that the "
                "adapter was trained with: ViT-H for those of SD1.5 and *_vit-h, bigG for "
                "ip-adapter_sdxl."
            ) from error

    def night_level(self, request: Request, brightness: NightBrightness) -> float:
        """Mean level, in [0, 1], that the night variant of a request gets."""
        if brightness.levels != "style":
            return drawn_level(brightness.levels, request.seed)
        if request.style_image is not None or self._pool is None:
            image = request.image if request.style_image is None else request.style_image
            return mean_level(image)
        return self._pool.mean_level(self._pool.draw(request.condition, request.seed))

    def steps(self, request: Request) -> Steps:
        """Return the steps of a request: all, or the last ones according to its strength."""
        return self._steps(strength_of(request, self._settings))

    def _tabulate(self, strength: float | None) -> Steps:
        config = self._models.pipe.scheduler.config
        scheduler = make_scheduler(self._settings.scheduler, config)
        return tabulate(scheduler, self._settings.steps, strength, eta=self._settings.eta)

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
        if not self._settings.ip_adapters:
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
    strength = strength_for(settings, request.condition, request.severity)
    return (
        num_kept(settings.steps, strength) / settings.steps + 1e-9
    )  # rounded to whole steps, so that equal tables are shared


def check_request(request: Request, settings: DiffusionSettings, multiple: int) -> None:
    """Raise ValueError for an invalid request, InvalidRequest for an unsupported size."""
    height, width = request.image.shape[:2]
    require_generation_size((width, height), settings.family, multiple)
    check_prompted_request(request, settings.conditions, [c.kind for c in settings.controls])
