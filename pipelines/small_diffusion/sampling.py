"""Sampling of the family by diffusers' own pipelines, in batches.

Every image has a random generator of its own, so it does not depend on the others of its batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.pipelines.controlnet.pipeline_controlnet import StableDiffusionControlNetPipeline
from diffusers.pipelines.controlnet.pipeline_controlnet_img2img import (
    StableDiffusionControlNetImg2ImgPipeline,
)
from PIL import Image

BATCH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """Conditioning and seed of one image."""

    prompt: str
    control: np.ndarray  # (H, W) uint8, near = white
    seed: int
    clear: np.ndarray | None = None  # (H, W, 3) uint8: start of image2image
    style: np.ndarray | None = None  # (h, w, 3) uint8: image prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Settings that all images of one call share."""

    steps: int
    guidance: float
    control_scale: float = 1.0
    strength: float | None = None  # of image2image; None: text2image
    style_scale: float = 1.0  # only with the adapter


class Sampler:
    """Pipelines of a family folder; with the adapter, every drawing needs a style image."""

    def __init__(
        self, folder: Path, device: torch.device, *, adapter: bool = False, batch: int = BATCH
    ) -> None:
        self._text2image = _pipeline(folder, device)
        if adapter:
            self._text2image.load_ip_adapter(
                str(folder / "ip-adapter"),
                subfolder="",
                weight_name="ip-adapter.safetensors",
                image_encoder_folder="image_encoder",
            )
            self._text2image.to(device)
        self._image2image: Any = StableDiffusionControlNetImg2ImgPipeline(
            **self._text2image.components, requires_safety_checker=False
        )
        self._image2image.set_progress_bar_config(disable=True)
        # diffusers gives all style images of a call to each of its images, so one at a time
        self._adapter, self._batch = adapter, 1 if adapter else batch

    def draw(
        self,
        drawings: Sequence[Drawing],
        sampling: Sampling,
        progress: Callable[[int], object] = lambda done: None,
    ) -> np.ndarray:
        """Draw images (N, H, W, 3) uint8; `progress` receives the number of finished ones."""
        if self._adapter:
            self._text2image.set_ip_adapter_scale(sampling.style_scale)
        found = []
        for start in range(0, len(drawings), self._batch):
            part = drawings[start : start + self._batch]
            found.append(self._draw(part, sampling))
            progress(start + len(part))
        return np.concatenate(found)

    @torch.inference_mode()
    def _draw(self, drawings: Sequence[Drawing], sampling: Sampling) -> np.ndarray:
        controls = [Image.fromarray(d.control).convert("RGB") for d in drawings]
        given: dict[str, Any] = {
            "prompt": [d.prompt for d in drawings],
            "generator": [torch.Generator().manual_seed(d.seed) for d in drawings],
            "num_inference_steps": sampling.steps,
            "guidance_scale": sampling.guidance,
            "controlnet_conditioning_scale": sampling.control_scale,
            "output_type": "np",
        }
        if self._adapter:
            given["ip_adapter_image_embeds"] = [self._styles(drawings, sampling.guidance > 1)]
        if sampling.strength is None:
            made = self._text2image(image=controls, **given)
        else:
            clears = [Image.fromarray(_present(d.clear)) for d in drawings]
            made = self._image2image(
                image=clears, control_image=controls, strength=sampling.strength, **given
            )
        return np.rint(made.images * 255).astype(np.uint8)

    def _styles(self, drawings: Sequence[Drawing], guided: bool) -> torch.Tensor:
        """Embeddings (B, 1, D) of the style images, behind those of none if guided."""
        styles = [Image.fromarray(_present(d.style)) for d in drawings]
        device = self._text2image.device
        embedded, none = self._text2image.encode_image(styles, device, 1, False)
        return torch.cat([none, embedded] if guided else [embedded])[:, None]


def _pipeline(folder: Path, device: torch.device) -> Any:
    """Load the family with plain diffusers; half-precision weights compute in float32."""
    dtype = torch.float32
    net = ControlNetModel.from_pretrained(folder / "controlnet-depth", dtype=dtype)
    pipe: Any = StableDiffusionControlNetPipeline.from_pretrained(
        folder / "base", controlnet=net, dtype=dtype
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device)


def _present(image: np.ndarray | None) -> np.ndarray:
    if image is None:
        raise ValueError("the drawing has no clear image or no style image, which it needs")
    return image
