"""`DiffusionEngine`: requests in, variants out."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch

from datasets.errors import DamagedInput, Reason
from datasets.frame import ADVERSE_CONDITIONS, Condition
from pipelines.engines.base import Request, Variant
from pipelines.engines.diffusion.batch import Networks, Sample
from pipelines.engines.diffusion.brightness import to_mean_level
from pipelines.engines.diffusion.denoise import denoise
from pipelines.engines.diffusion.families import require
from pipelines.engines.diffusion.memory import largest_that_fits, run_padded
from pipelines.engines.diffusion.models import Models, load_models
from pipelines.engines.diffusion.output import Picture, decode, unsafe_flags
from pipelines.engines.diffusion.samples import SampleMaker, check_request, strength_of
from pipelines.engines.diffusion.settings import VERSION, DiffusionSettings
from pipelines.engines.diffusion.speed import make_decoder, make_networks

NIGHTS = (Condition.NIGHT, Condition.NIGHT_RAIN)


class DiffusionEngine:
    """Stable Diffusion with ControlNet and IP-Adapter on batches of fixed shape.

    The bytes of a variant depend on its request, the settings, the batch size, the device and the
    library builds; not on the requests beside it. Settings that the family cannot serve are
    refused here; the models are loaded with the first request.
    """

    name: str = "diffusion"
    version: str = VERSION
    conditions: tuple[Condition, ...] = ADVERSE_CONDITIONS

    def __init__(
        self,
        settings: DiffusionSettings,
        *,
        device: str | None = None,
        offline: bool | None = None,
    ) -> None:
        require(settings)
        self.settings = settings
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._offline = offline

    @cached_property
    def models(self) -> Models:
        """The loaded models; raises Refused for what is missing or does not fit."""
        return load_models(self.settings, self._device, offline=self._offline)

    def generate(self, requests: Sequence[Request]) -> list[Variant]:
        """Make one variant per request, in order; raises DamagedInput for the first bad one."""
        made = self.outcomes(requests)
        for outcome in made:
            if isinstance(outcome, DamagedInput):
                raise outcome
        return [outcome for outcome in made if isinstance(outcome, Variant)]

    def outcomes(self, requests: Sequence[Request]) -> list[Variant | DamagedInput]:
        """One variant or failure per request, in order: a bad picture costs only itself.

        Raises ValueError or Refused for a request that makes no sense, and
        torch.OutOfMemoryError where not even one picture fits.
        """
        for request in requests:
            check_request(request, self.settings, self.models.pipe.vae_scale_factor)
        # Pictures of one size run together, and those with as many steps side by side.
        order = sorted(range(len(requests)), key=lambda i: self._group(requests[i]))
        made: dict[int, Variant | DamagedInput] = {}
        while order:
            shape = requests[order[0]].image.shape
            same = [i for i in order if requests[i].image.shape == shape]
            same = same[: self.settings.batch_size]
            order = [i for i in order if i not in same]
            batch = [requests[i] for i in same]
            made |= dict(zip(same, self._batch(batch), strict=True))
        return [made[i] for i in range(len(requests))]

    def probe(self, request: Request, limit: int) -> int:
        """Largest batch size up to `limit` that fits into memory for requests such as this one.

        On a CPU, whose memory is not ours to fill, that is `limit`.
        """
        if self._device.type != "cuda":
            return limit
        sample = self._maker.make(request)
        return largest_that_fits(lambda size: self._pictures([sample] * size), limit)

    def _group(self, request: Request) -> tuple[int, ...]:
        return (*request.image.shape, self._maker.steps(request).first)

    def _batch(self, requests: Sequence[Request]) -> list[Variant | DamagedInput]:
        samples = [self._maker.make(request) for request in requests]
        pictures = run_padded(samples, self.settings.batch_size, self._pictures)
        return [
            self._finish(request, sample, picture, size)
            for request, sample, (picture, size) in zip(requests, samples, pictures, strict=True)
        ]

    def _pictures(self, samples: Sequence[Sample]) -> list[Picture]:
        latents = denoise(self._networks, samples, self.settings)
        return self._decode(latents, self._decoder)

    def _decode(self, latents: torch.Tensor, decoder: Any) -> list[Picture]:
        module: Any = self.models.vae_decoder
        dtype = next(module.parameters()).dtype
        scale = module.config.scaling_factor
        return decode(decoder, latents, dtype, scale, self.settings.decode_batch_size)

    def _finish(
        self, request: Request, sample: Sample, picture: Picture, size: int
    ) -> Variant | DamagedInput:
        problem = picture.problem
        if problem:
            picture = self._again(request)
            if picture.problem:
                return DamagedInput(
                    Reason.BAD_OUTPUT,
                    f"{problem}; made again in float32: {picture.problem}",
                )
        image, provenance = picture.image, self._provenance(request, sample, size, problem)
        if self.settings.safety_checker:
            flagged = unsafe_flags(self.models.pipe, [image])[0]
            provenance["safety_checker"] = "flagged" if flagged else "passed"
        if request.condition in NIGHTS and self.settings.night_level is not None:
            image, gamma = to_mean_level(image, self.settings.night_level)
            provenance["brightness_gamma"] = f"{gamma:.6g}"
        return Variant(image=image, provenance=provenance)

    def _again(self, request: Request) -> Picture:
        """Make one picture alone, in float32 and not compiled: no neighbour can matter."""
        with self.models.in_float32():
            networks = make_networks(self.models, self.settings, plain=True)
            latents = denoise(networks, [self._maker.make(request)], self.settings)
            return self._decode(latents, make_decoder(self.models, self.settings, plain=True))[0]

    def _provenance(
        self, request: Request, sample: Sample, size: int, problem: str
    ) -> dict[str, str]:
        strength = strength_of(request, self.settings)
        facts = {
            "device": self._device_name,
            "dtype": self.settings.dtype,
            "batch_size": str(size),
            "split": "out of memory" if size != self.settings.batch_size else "",
            "made_again": problem,
            "strength": "" if strength is None else f"{strength:.4f}",
            "style": sample.style_id,
            **{f"model_{part}": name for part, name in self.models.names.items()},
        }
        return {name: fact for name, fact in facts.items() if fact}

    @cached_property
    def _device_name(self) -> str:
        return torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else "cpu"

    @cached_property
    def _maker(self) -> SampleMaker:
        return SampleMaker(self.models, self.settings)

    @cached_property
    def _networks(self) -> Networks:
        return make_networks(self.models, self.settings)

    @cached_property
    def _decoder(self) -> Any:
        return make_decoder(self.models, self.settings)
