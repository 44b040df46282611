"""Pipeline engine: batches of requests through a pipeline of diffusers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.engines.diffusion.batch_fit import largest_that_fits, margin_kept
from nightrain.pipelines.engines.diffusion.output import image_problem
from nightrain.pipelines.engines.pipeline.call import call_arguments, images_of, strength_of
from nightrain.pipelines.engines.pipeline.loading import LoadedPipeline, load_pipeline
from nightrain.pipelines.engines.pipeline.settings import PipelineSettings
from nightrain.pipelines.engines.request_check import check_prompted_request
from nightrain.pipelines.engines.torch_engine import TorchEngine
from nightrain.pipelines.runs.batches import run_padded


@dataclass(frozen=True, slots=True)
class PipelineImage:
    """Image of one request, as the pipeline returned it."""

    request: Request
    values: np.ndarray  # (H, W, 3) float in [0, 1]
    size: int  # batch size
    wanted_size: int


class PipelineEngine(TorchEngine):
    """A pipeline of diffusers, called for batches of fixed size or for one image at a time.

    The bytes of a variant depend on its request, the settings, the batch size, the device and the
    library builds; not on other requests of the batch. The constructor raises InvalidRequest for
    settings that the class does not support; the models are loaded at the first request.
    """

    def __init__(
        self,
        settings: PipelineSettings,
        *,
        device: str | None = None,
        offline: bool | None = None,
    ) -> None:
        super().__init__(device)
        self.settings = settings
        self._keywords = settings.require_class()
        self._offline = offline

    @cached_property
    def loaded(self) -> LoadedPipeline:
        """The pipeline of the settings; raises InvalidRequest for missing or unfit models."""
        return load_pipeline(self.settings, self._device, offline=self._offline)

    def probe(self, request: Request, limit: int) -> int | None:
        """Return the largest batch size up to `limit` that fits into memory; on a CPU, `limit`.

        None if the pipeline is called for one image at a time.
        """
        if self.settings.calls_one_by_one:
            return None
        if self._device.type != "cuda":
            return limit
        with margin_kept(self._device):
            return largest_that_fits(lambda size: self._call([request] * size), limit)

    def embed(self, requests: Sequence[Request]) -> list[Request]:
        """Validate requests; the pipeline encodes them itself. Raises ValueError."""
        kinds = [control.kind for control in self.settings.controls]
        for request in requests:
            check_prompted_request(request, self.settings.conditions, kinds)
        return list(requests)

    def begin(self, embedded: Sequence[Request], batch_size: int) -> list[PipelineImage]:
        """Generate images in padded batches of one size.

        Raises torch.OutOfMemoryError if not even one fits, DamagedInput for a wrong output.
        """
        size = 1 if self.settings.calls_one_by_one else batch_size
        made: dict[int, PipelineImage] = {}
        for shape in dict.fromkeys(request.image.shape for request in embedded):
            same = [i for i, request in enumerate(embedded) if request.image.shape == shape]
            outputs = run_padded([embedded[i] for i in same], size, self._call)
            for i, (values, actual) in zip(same, outputs, strict=True):
                made[i] = PipelineImage(embedded[i], values, actual, size)
        return [made[i] for i in range(len(embedded))]

    def finish(self, begun: Sequence[PipelineImage]) -> list[Variant | Exception]:
        """Check the images and convert them to 8 bits."""
        return [self._outcome(one) for one in begun]

    @torch.inference_mode()
    def _call(self, requests: Sequence[Request]) -> list[np.ndarray]:
        arguments = call_arguments(requests, self.settings, self._keywords, self.loaded.guidance)
        pipe, devices = self.loaded.pipe, [] if self._device.type == "cpu" else [self._device]
        # Some classes draw from the global generator, in addition to ours.
        with torch.random.fork_rng(devices, device_type=self._device.type):
            torch.manual_seed(requests[0].seed)
            return images_of(pipe(**arguments, output_type="np"), len(requests))

    def _outcome(self, made: PipelineImage) -> Variant | DamagedInput:
        if not np.isfinite(made.values).all():
            return DamagedInput(Reason.BAD_OUTPUT, "the pixels are not finite")
        image = np.rint(255 * made.values.clip(0, 1)).astype(np.uint8)
        problem = image_problem(image)
        if problem:
            return DamagedInput(Reason.BAD_OUTPUT, problem)
        num_steps = self.settings.num_steps(made.request.severity)
        return Variant(
            image=image,
            provenance=self._provenance(made),
            num_steps=num_steps,
            control_steps=self.settings.control_steps(num_steps),
        )

    def _provenance(self, made: PipelineImage) -> dict[str, str]:
        settings = self.settings
        guided = settings.mode == "image2image"
        facts = {
            "device": self.device_name(),
            "dtype": settings.dtype,
            "quantisation": "" if settings.quantisation == "off" else settings.quantisation,
            "batch_size": str(made.size),
            "split": "out of memory" if made.size != made.wanted_size else "",
            "strength": f"{strength_of(made.request, settings):.4f}" if guided else "",
            "pipeline": settings.pipeline,
            **{f"model_{part}": name for part, name in self.loaded.names.items()},
        }
        return {name: fact for name, fact in facts.items() if fact}
