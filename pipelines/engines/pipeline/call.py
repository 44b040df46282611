"""Calls: requests as the keyword arguments of a pipeline, and its images as arrays."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.pipelines.engines.base import Request
from nightrain.pipelines.engines.pipeline.keywords import Field
from nightrain.pipelines.engines.pipeline.settings import PipelineSettings
from nightrain.pipelines.engines.strengths import strength_for


def call_arguments(
    requests: Sequence[Request],
    settings: PipelineSettings,
    keywords: Mapping[Field, str],
    guidance: float | None,
) -> dict[str, Any]:
    """Keyword arguments of one call, for requests of one size.

    Prompts, control images and generators are lists, one item per request, unless the pipeline is
    called for one image at a time. Each generator is seeded by its request alone.
    """
    height, width = requests[0].image.shape[:2]
    rows = [_of_one(request, settings) for request in requests]
    values: dict[Field, Any] = {
        "width": width,
        "height": height,
        "steps": settings.steps,
        "guidance": guidance,
        **{field: [row[field] for row in rows] for field in rows[0]},
    }
    if settings.calls_one_by_one:
        values |= rows[0]
    if settings.mode == "image2image":
        values["strength"] = strength_of(requests[0], settings)
    values |= _control_settings(settings)
    named = {keywords[f]: v for f, v in values.items() if f in keywords and v is not None}
    return named | settings.options


def _of_one(request: Request, settings: PipelineSettings) -> dict[Field, Any]:
    """Inputs of one request that differ from image to image, or whose number must be theirs."""
    controls = [Image.fromarray(image) for image in request.control_images]
    # Drawn on the host, so that the noise is the same on every device.
    found: dict[Field, Any] = {
        "prompt": request.prompt,
        "generator": torch.Generator().manual_seed(request.seed),
    }
    if settings.negative_prompt:
        found["negative_prompt"] = settings.negative_prompt
    if settings.mode != "text2image":
        found["picture"] = Image.fromarray(request.image)
    if controls:
        found["control"] = controls if len(controls) > 1 else controls[0]
    return found


def _control_settings(settings: PipelineSettings) -> dict[Field, Any]:
    """Scale, start and end: a number for one control, lists for several."""
    found: dict[Field, Any] = {}
    for field in ("scale", "start", "end"):
        values = [getattr(control, field) for control in settings.controls]
        if values:
            found[f"control_{field}"] = values if len(values) > 1 else values[0]  # type: ignore
    return found


def strength_of(request: Request, settings: PipelineSettings) -> float:
    """Strength of image2image, from the severity."""
    return strength_for(settings, request.condition, request.severity)


def images_of(output: Any, number: int) -> list[np.ndarray]:
    """Images (H, W, 3) float in [0, 1] of a pipeline's output; raises DamagedInput."""
    images = getattr(output, "images", None)
    shapes = {np.ndim(image) for image in images} if images is not None else set()
    if images is None or len(images) != number or shapes != {3}:
        found = "no images" if images is None else f"{len(images)} images of {shapes} dimensions"
        raise DamagedInput(
            Reason.BAD_OUTPUT, f"the pipeline returned {found}, expected {number} of 3 dimensions"
        )
    return [np.asarray(image) for image in images]
