"""Contact sheet of held-out views, drawn by diffusers' own pipelines from the written folder."""

from collections.abc import Iterator
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

from nightrain.datasets.conditions import CONDITIONS, Condition
from nightrain.pipelines.small_diffusion.views import Views, read_places

SHOWN = (Condition.NIGHT, Condition.RAIN, Condition.SNOW, Condition.FOG, Condition.NIGHT_RAIN)
STEPS, GUIDANCE, STRENGTH = 20, 3.0, 0.75


def load_pipeline(folder: Path, device: torch.device) -> StableDiffusionControlNetPipeline:
    """Load the family with plain diffusers."""
    dtype = torch.float32
    net = ControlNetModel.from_pretrained(folder / "controlnet-depth", dtype=dtype)
    pipe = StableDiffusionControlNetPipeline.from_pretrained(
        folder / "base", controlnet=net, dtype=dtype
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device)


def write_sheet(folder: Path, views: Path, out: Path, device: torch.device, rows: int = 12) -> None:
    """Write a sheet of `rows` held-out places.

    Columns: clear, control, text to image under five conditions, image to image at night and in
    rain, the world's own night and rain.
    """
    pipe = load_pipeline(folder, device)
    again = StableDiffusionControlNetImg2ImgPipeline(**pipe.components)  # pyright: ignore
    again.set_progress_bar_config(disable=True)
    lines = [np.concatenate(list(_row(pipe, again, v)), 1) for v in _places(views, rows)]
    Image.fromarray(np.concatenate(lines)).save(out, quality=90)


def _places(views: Path, rows: int) -> list[Views]:
    found = list(read_places(views, held_out=True, seen=set()))
    return found[:rows]


def _row(pipe: Any, again: Any, views: Views) -> Iterator[np.ndarray]:
    clear = Image.fromarray(views.image[0])
    control = Image.fromarray(views.control[0]).convert("RGB")
    yield views.image[0]
    yield np.asarray(control)
    caption = str(views.prompts[0, 0]).partition(", ")[2] or "a street with cars"
    options: dict[str, Any] = {"guidance_scale": GUIDANCE, "num_inference_steps": STEPS}
    for condition in SHOWN:
        prompt = f"{CONDITIONS[condition].phrases[0]}, {caption}"
        generator = torch.Generator().manual_seed(0)
        made = pipe(prompt, image=control, generator=generator, **options)
        yield np.asarray(made.images[0])
    for condition in SHOWN[:2]:
        prompt = f"{CONDITIONS[condition].phrases[0]}, {caption}"
        generator = torch.Generator().manual_seed(0)
        made = again(
            prompt,
            image=clear,
            control_image=control,
            strength=STRENGTH,
            generator=generator,
            **options,
        )
        yield np.asarray(made.images[0])
    for number in (1, 2):
        yield views.image[int(np.argmax(views.condition == number))]
