"""Diffusion engine: batches of requests through embedding, denoising and decoding."""

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from nightrain.datasets.conditions import CONDITIONS, Condition
from nightrain.datasets.errors import DamagedInput, InvalidRequest, Reason
from nightrain.datasets.registry import one_line
from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.engines.diffusion.batch_fit import largest_that_fits, margin_kept
from nightrain.pipelines.engines.diffusion.brightness import to_mean_level
from nightrain.pipelines.engines.diffusion.denoise import denoise
from nightrain.pipelines.engines.diffusion.models.loading import Models, load_models
from nightrain.pipelines.engines.diffusion.models.settings import DiffusionSettings
from nightrain.pipelines.engines.diffusion.network_inputs import Networks, Sample
from nightrain.pipelines.engines.diffusion.output import Decoded, DecodedImage, decode, unsafe_flags
from nightrain.pipelines.engines.diffusion.samples import SampleMaker, check_request, strength_of
from nightrain.pipelines.engines.diffusion.speed import make_decoder, make_networks
from nightrain.pipelines.engines.model_loading import quiet_libraries
from nightrain.pipelines.engines.torch_engine import TorchEngine
from nightrain.pipelines.runs.batches import raise_if_it_ends_the_run, run_padded
from nightrain.pipelines.runs.device_errors import is_out_of_memory
from nightrain.pipelines.runs.devices import on_side_stream

Row = tuple[Decoded, int]  # a decoded batch, and the index of an image in it


@dataclass(frozen=True, slots=True)
class Embedded:
    """Request with its embedded sample."""

    request: Request
    sample: Sample

    @property
    def group(self) -> tuple[int, ...]:
        """Key of requests that can share a batch."""
        return (*self.request.image.shape, self.sample.steps.first)


@dataclass(frozen=True, slots=True)
class Begun:
    """Request that the device is working on; keeps its inputs alive until the end."""

    embedded: Embedded
    row: Row
    size: int  # batch size
    wanted_size: int


class DiffusionEngine(TorchEngine):
    """Stable Diffusion with ControlNet and IP-Adapter on batches of fixed shape.

    The bytes of a variant depend on its request, the settings, the batch size, the device and the
    library builds; not on other requests of the batch. The constructor raises InvalidRequest for
    settings that the family does not support and for devices other than cuda and cpu; the models
    are loaded at the first request. `side_stream` runs a block in parallel with the device's other
    work: all networks but those of the denoising loop and the decoder.
    """

    def __init__(
        self,
        settings: DiffusionSettings,
        *,
        device: str | None = None,
        offline: bool | None = None,
        batch_size: int = 8,
        side_stream: Callable[[torch.device], AbstractContextManager[None]] = on_side_stream,
    ) -> None:
        super().__init__(device)
        settings.require_family()
        self.settings = settings
        self.batch_size = batch_size  # used by `generate` and `outcomes`
        self._offline = offline
        self._side_stream = side_stream
        self._models_in_use = threading.Lock()  # held while embedding or casting

    @cached_property
    def models(self) -> Models:
        """Models of the settings; raises InvalidRequest if they cannot be loaded."""
        try:
            found = load_models(self.settings, self._device, offline=self._offline)
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)  # before the side stream reads the weights
            return found
        except Exception as error:
            raise_if_it_ends_the_run(error)
            raise InvalidRequest(self._loading_words(error)) from error

    def _loading_words(self, error: Exception) -> str:
        if is_out_of_memory(error):
            return (
                f"The models do not fit into the memory of {self.device_name()}. End other "
                "programs that use it, set `dtype` to float16 or bfloat16, or use a smaller family."
            )
        return (
            f"The models cannot be loaded ({one_line(error)[:500]}). Check that `base`, `controls` "
            "and the other weights are complete and belong to one family."
        )

    def preflight(self, conditions: Sequence[Condition]) -> None:
        """Load the models, and test the adapter and the style images of conditions.

        Raises InvalidRequest.
        """
        with self._models_in_use:
            _ = self._networks
            self._maker.preflight(conditions)

    def generate(self, requests: Sequence[Request]) -> list[Variant]:
        """Return one variant per request, in order; raises DamagedInput for the first bad one."""
        made = self.outcomes(requests)
        for outcome in made:
            if isinstance(outcome, DamagedInput):
                raise outcome
        return [outcome for outcome in made if isinstance(outcome, Variant)]

    def outcomes(self, requests: Sequence[Request]) -> list[Variant | DamagedInput]:
        """Return one variant or failure per request, in order; raises like `embed` and `begin`."""
        embedded = self.embed(requests)
        return self.finish(self.begin(embedded, self.batch_size))

    def probe(self, request: Request, limit: int) -> int:
        """Return the largest batch size up to `limit` that fits into memory with a margin.

        On a CPU, return `limit`.
        """
        if self._device.type != "cuda":
            return limit
        sample = self.embed([request])[0].sample
        with margin_kept(self._device):
            return largest_that_fits(lambda size: self._launch([sample] * size).pictures(), limit)

    def embed(self, requests: Sequence[Request]) -> list[Embedded]:
        """Validate and embed requests, in parallel with the device's other work.

        Raises ValueError or InvalidRequest for an invalid request.
        """
        with self._models_in_use:
            _ = self._networks  # they change the models' memory format, so not while others embed
            for request in requests:
                check_request(request, self.settings, self.models.pipe.vae_scale_factor)
            with self._side_stream(self._device):
                return [Embedded(request, self._maker.make(request)) for request in requests]

    def begin(self, embedded: Sequence[Embedded], batch_size: int) -> list[Begun]:
        """Start the work on requests in padded batches, without waiting for a GPU.

        Raises torch.OutOfMemoryError if not even one image fits.
        """
        # Batches hold images of one size, sorted by their number of steps.
        order = sorted(range(len(embedded)), key=lambda i: embedded[i].group)
        begun: dict[int, Begun] = {}
        while order:
            shape = embedded[order[0]].request.image.shape
            same = [i for i in order if embedded[i].request.image.shape == shape][:batch_size]
            order = [i for i in order if i not in same]
            samples = [embedded[i].sample for i in same]
            for i, (row, size) in zip(
                same, run_padded(samples, batch_size, self._launched_rows), strict=True
            ):
                begun[i] = Begun(embedded[i], row, size, batch_size)
        return [begun[i] for i in range(len(embedded))]

    def finish(self, begun: Sequence[Begun]) -> list[Variant | DamagedInput]:
        """Wait for the images and check them; a bad one is generated once more.

        Raises torch.OutOfMemoryError if that second attempt does not fit into memory.
        """
        return [self._outcome(one) for one in begun]

    def _launched_rows(self, samples: Sequence[Sample]) -> list[Row]:
        decoded = self._launch(samples)
        return [(decoded, number) for number in range(len(samples))]

    def _launch(self, samples: Sequence[Sample]) -> Decoded:
        latents = denoise(self._networks, samples, self.settings)
        return self._decode(latents, self._decoder)

    def _decode(self, latents: torch.Tensor, decoder: Any) -> Decoded:
        module: Any = self.models.vae_decoder
        dtype = next(module.parameters()).dtype
        scale = module.config.scaling_factor
        unrounded = self.settings.night_brightness is not None
        return decode(decoder, latents, dtype, scale, self.settings.decode_batch_size, unrounded)

    def _outcome(self, begun: Begun) -> Variant | DamagedInput:
        request, (decoded, number) = begun.embedded.request, begun.row
        picture = decoded.pictures()[number]
        problem = picture.problem
        if problem:
            picture = self._again(request)
            if picture.problem:
                return DamagedInput(
                    Reason.BAD_OUTPUT,
                    f"{problem}; again in float32: {picture.problem}",
                )
        image, provenance = picture.image, self._provenance(begun, problem)
        if self.settings.safety_checker:
            with self._side_stream(self._device):  # not behind the next batch
                flagged = unsafe_flags(self.models.pipe, [image])[0]
            provenance["safety_checker"] = "flagged" if flagged else "passed"
        brightness = self.settings.night_brightness
        if CONDITIONS[request.condition].is_night and brightness is not None:
            level = self._maker.night_level(request, brightness)
            values = image / np.float32(255) if picture.values is None else picture.values
            image, gamma = to_mean_level(values, level, brightness.gamma)
            provenance |= {"brightness_gamma": f"{gamma:.6g}", "night_level": f"{level:.4f}"}
        num_steps = begun.embedded.sample.steps.num_run
        return Variant(
            image=image,
            provenance=provenance,
            num_steps=num_steps,
            control_steps=self.settings.control_steps(num_steps),
        )

    def _again(self, request: Request) -> DecodedImage:
        """Generate one image again: alone, in float32 and uncompiled, to rule out other causes."""
        with self._models_in_use, self.models.in_float32():
            networks = make_networks(self.models, self.settings, plain=True)
            latents = denoise(networks, [self._maker.make(request)], self.settings)
            decoder = make_decoder(self.models, self.settings, plain=True)
            picture = self._decode(latents, decoder).pictures()[0]
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # the weights are cast back before others embed
        return picture

    def _provenance(self, begun: Begun, problem: str) -> dict[str, str]:
        strength = strength_of(begun.embedded.request, self.settings)
        facts = {
            "device": self.device_name(),
            "dtype": self.settings.dtype,
            "batch_size": str(begun.size),
            "split": "out of memory" if begun.size != begun.wanted_size else "",
            "made_again": problem,
            "strength": "" if strength is None else f"{strength:.4f}",
            "style": begun.embedded.sample.style_id,
            **{f"model_{part}": name for part, name in self.models.names.items()},
        }
        return {name: fact for name, fact in facts.items() if fact}

    @cached_property
    def _maker(self) -> SampleMaker:
        return SampleMaker(self.models, self.settings)

    @cached_property
    def _networks(self) -> Networks:
        models = self.models
        with quiet_libraries():
            return make_networks(models, self.settings)

    @cached_property
    def _decoder(self) -> Any:
        return make_decoder(self.models, self.settings)
