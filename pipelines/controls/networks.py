"""Depth networks of transformers as depth sources: DPT, Depth Anything, ZoeDepth, Depth Pro.

Intel/dpt-hybrid-midas and Intel/dpt-large are MiDaS 3.0 in safetensors. Some networks return depth,
others inverse depth: `FAMILIES` lists which, and `polarity.assert_near_is_white` tests each image.
"""

import functools
import inspect
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.weights import Weights, resolve, weights_name
from nightrain.pipelines.controls.depth_source import (
    LEAST_DEPTH_M,
    DepthInput,
    RelativeDepth,
    at_size,
)

Gives = Literal["inverse", "metric"]
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
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    device: str = "auto"  # "auto": the first GPU, else the processor
    offline: bool | None = None  # None: as HF_HUB_OFFLINE says

    @property
    def name(self) -> str:
        """Identity: weights, output convention and precision; raises InvalidRequest."""
        weights = weights_name(self.model, offline=self.offline)
        return f"network:{weights}:{self.gives or 'auto'}:{self.dtype}"

    def depth(self, scene: DepthInput) -> RelativeDepth:
        """Return inverse depth (H, W) of the image; raises InvalidRequest, DamagedInput."""
        inverse = _load(self).run(scene.image)
        return RelativeDepth(at_size(inverse, (scene.image.shape[1], scene.image.shape[0])))


@dataclass(frozen=True)
class _DepthNetwork:
    """Loaded network with its pre- and post-processing."""

    model: Any
    processor: Any
    gives: Gives

    def run(self, image: np.ndarray) -> np.ndarray:
        """Return inverse depth (h, w) float32, at the network's size, of an image (H, W, 3) uint8.

        Metres are inverted before resizing: cubic resizing overshoots at the edge of a near object
        to 0 m and below, and one such pixel would darken the whole control image.
        """
        import torch
        from PIL import Image

        inputs = self.processor(images=Image.fromarray(image), return_tensors="pt")
        with torch.inference_mode():
            outputs = self.model(inputs["pixel_values"].to(self.model.device, self.model.dtype))
        found = outputs.predicted_depth.float()  # (1, h, w)
        if self.gives == "metric":
            found = 1.0 / found.clamp(min=LEAST_DEPTH_M)
        finish = self.processor.post_process_depth_estimation
        if "source_sizes" in inspect.signature(finish).parameters:  # ZoeDepth's padding comes off
            outputs.predicted_depth = found
            found = finish(outputs, source_sizes=[image.shape[:2]])[0]["predicted_depth"]
        return found.squeeze().cpu().numpy()  # (h, w)


@functools.lru_cache(maxsize=2)
def _load(source: NetworkDepth) -> _DepthNetwork:
    import torch
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForDepthEstimation

    found = resolve(source.model, offline=source.offline)
    config = AutoConfig.from_pretrained(found.folder, local_files_only=True)
    gives = source.gives or _gives(config)
    device = source.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    model: Any = AutoModelForDepthEstimation.from_pretrained(
        found.folder,
        dtype=getattr(torch, source.dtype),
        use_safetensors=True,
        local_files_only=True,
    )
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
