"""Depth networks of transformers as depth sources: DPT, Depth Anything, ZoeDepth, Depth Pro.

Intel/dpt-hybrid-midas and Intel/dpt-large are MiDaS 3.0 in safetensors. Some networks return depth,
others inverse depth: `FAMILIES` lists which, and `polarity.assert_near_is_white` tests each image.
"""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.registry import one_line
from nightrain.depthmodel.loading_reports import quiet_transformers, require_complete
from nightrain.depthmodel.weights import Weights, about, resolve, weights_name
from nightrain.pipelines.controls.depth_source import (
    LEAST_DEPTH_M,
    DepthInput,
    RelativeDepth,
    at_size,
)
from nightrain.pipelines.runs.batches import raise_if_it_ends_the_run, run_padded
from nightrain.pipelines.runs.device_errors import is_out_of_memory
from nightrain.pipelines.runs.devices import on_side_stream

if TYPE_CHECKING:
    import torch

Gives = Literal["inverse", "metric"]
Precision = Literal["float32", "float16", "bfloat16"]
R = TypeVar("R")
BATCH_ON_GPU = 16  # images; a CPU gains nothing from batches
FAMILIES: dict[str, Gives] = {  # raw network output; transformers inverts Depth Pro's later
    "dpt": "inverse",
    "depth_pro": "inverse",
    "zoedepth": "metric",
    "glpn": "metric",
}


@dataclass(frozen=True)
class NetworkDepth:
    """Depth network by its weights; loaded at the first image, once per process."""

    model: Weights
    gives: Gives | None = None  # None: by family; DPT heads trained on metres need "metric"
    dtype: Precision = "float32"  # on a GPU; a CPU computes in float32
    device: str = "auto"  # "auto": the first GPU, else the processor
    offline: bool | None = None  # None: as HF_HUB_OFFLINE says

    @property
    def name(self) -> str:
        """Identity: weights, output convention and precision; raises InvalidRequest."""
        with about("network", self.model):
            weights = weights_name(self.model, offline=self.offline)
        return f"network:{weights}:{self.gives or 'auto'}:{self.dtype}"

    @property
    def is_metric(self) -> bool:
        """Whether the network returns metres, by its configuration; raises InvalidRequest."""
        from transformers import AutoConfig

        if self.gives is not None:
            return self.gives == "metric"
        with about("network", self.model), loading(self.model.id_or_folder):
            folder = resolve(self.model, offline=self.offline).folder
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
            return _gives(config) == "metric"

    def depth(self, scene: DepthInput) -> RelativeDepth:
        """Return inverse depth (H, W) of the image; raises InvalidRequest, DamagedInput."""
        return self.depths([scene])[0]

    def depths(self, scenes: Sequence[DepthInput]) -> list[RelativeDepth]:
        """Return inverse depth (H, W) of each image; raises InvalidRequest, DamagedInput."""
        network = _load(self)
        found = network.run([scene.image for scene in scenes])
        return [
            RelativeDepth(
                at_size(inverse, (scene.image.shape[1], scene.image.shape[0])),
                is_metric=network.gives == "metric",
            )
            for inverse, scene in zip(found, scenes, strict=True)
        ]


@dataclass(frozen=True)
class _DepthNetwork:
    """Loaded network with its pre- and post-processing."""

    model: Any
    processor: Any
    gives: Gives

    def run(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return inverse depth (h, w) float32, at the network's size, of images (H, W, 3) uint8."""
        from PIL import Image

        pixels = [
            self.processor(images=Image.fromarray(image), return_tensors="pt")["pixel_values"]
            for image in images
        ]

        def run(numbers: Sequence[int]) -> list[np.ndarray]:
            sizes = [(images[n].shape[0], images[n].shape[1]) for n in numbers]
            return self._run_batch([pixels[n] for n in numbers], sizes)

        with on_side_stream(self.model.device):
            return run_by_shape([p.shape for p in pixels], batch_size_on(self.model.device), run)

    def _run_batch(
        self, pixels: Sequence["torch.Tensor"], sizes: Sequence[tuple[int, int]]
    ) -> list[np.ndarray]:
        """Inverse depth of one batch of equal shape.

        Metres are inverted before resizing: cubic resizing overshoots at the edge of a near object
        to 0 m and below, and one such pixel would darken the whole control image.
        """
        import torch

        outputs = self._forward(torch.cat(list(pixels)))
        found = outputs.predicted_depth.float()  # (B, h, w)
        if self.gives == "metric":
            found = 1.0 / found.clamp(min=LEAST_DEPTH_M)
        finish = self.processor.post_process_depth_estimation
        if "source_sizes" in inspect.signature(finish).parameters:  # ZoeDepth's padding comes off
            outputs.predicted_depth = found
            parts = [one["predicted_depth"] for one in finish(outputs, source_sizes=list(sizes))]
        else:
            parts = list(found)
        return [part.squeeze().cpu().numpy() for part in parts]  # each (h, w)

    def _forward(self, pixels: "torch.Tensor") -> Any:
        """Run the network; a batch that overflows in half precision is run again in float32."""
        import torch

        half = self.model.dtype
        with torch.inference_mode():
            outputs = self.model(pixels.to(self.model.device, half))
            if half is torch.float32 or bool(outputs.predicted_depth.isfinite().all()):
                return outputs
            try:
                return self.model.float()(pixels.to(self.model.device))
            finally:
                self.model.to(half)


def batch_size_on(device: Any) -> int:
    """Return the batch size of depth networks on a device."""
    return BATCH_ON_GPU if getattr(device, "type", str(device)) == "cuda" else 1


def run_by_shape(
    shapes: Sequence[Any], size: int, run: Callable[[Sequence[int]], Sequence[R]]
) -> list[R]:
    """Run the numbers of inputs in batches of exactly `size` and of equal shape; results in order.

    Batches are filled up, because the last bits of a network's output depend on the size of its
    batch. A batch that runs out of memory is halved.
    """
    groups: dict[Any, list[int]] = {}
    for number, shape in enumerate(shapes):
        groups.setdefault(tuple(shape), []).append(number)
    found: dict[int, R] = {}
    for numbers in groups.values():
        for number, (result, _) in zip(numbers, run_padded(numbers, size, run), strict=True):
            found[number] = result
    return [found[number] for number in range(len(shapes))]


@contextmanager
def loading(name: str) -> Iterator[None]:
    """Load a depth network within the block, ready for other streams when it ends.

    Raises InvalidRequest if it cannot be loaded or does not fit into memory, RunFailure if the GPU
    is lost.
    """
    import torch

    try:
        with quiet_transformers():
            yield
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()  # before another stream reads the weights
    except Exception as error:
        raise_if_it_ends_the_run(error)
        if is_out_of_memory(error):
            raise InvalidRequest(
                f"The depth network {name} does not fit into memory. End other programs that use "
                "it, or choose a smaller network."
            ) from error
        raise InvalidRequest(
            f"The depth network {name} cannot be loaded ({one_line(error)[:300]}). Check that its "
            "files are complete."
        ) from error


@functools.lru_cache(maxsize=2)
def _load(source: NetworkDepth) -> _DepthNetwork:
    with about("network", source.model):
        return _loaded(source)


def _loaded(source: NetworkDepth) -> _DepthNetwork:
    import torch
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForDepthEstimation

    found = resolve(source.model, offline=source.offline)
    with loading(source.model.id_or_folder):
        config = AutoConfig.from_pretrained(found.folder, local_files_only=True)
    gives = source.gives or _gives(config)
    device = source.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    on_gpu = torch.device(device).type == "cuda"
    with loading(source.model.id_or_folder):
        loaded: Any = AutoModelForDepthEstimation.from_pretrained(
            found.folder,
            dtype=getattr(torch, source.dtype) if on_gpu else torch.float32,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
        model, report = loaded
        require_complete("", sorted(report["missing_keys"]))
        processor = AutoImageProcessor.from_pretrained(found.folder, local_files_only=True)
        return _DepthNetwork(model.to(device).eval(), processor, gives)


def _gives(config: Any) -> Gives:
    """Return the output convention of a model configuration; raises InvalidRequest if unknown."""
    kind = getattr(config, "depth_estimation_type", None)  # set by Depth Anything
    if kind is not None:
        return "metric" if kind == "metric" else "inverse"
    if config.model_type not in FAMILIES:
        raise InvalidRequest(
            f"Found model family {config.model_type!r}; expected one of "
            f"{', '.join(sorted([*FAMILIES, 'depth_anything']))}. For another family, set "
            "control_depth.gives to 'metric' if its networks return depth, or to 'inverse' if "
            "larger values are nearer."
        )
    return FAMILIES[config.model_type]
