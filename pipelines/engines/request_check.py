"""Checks of requests that engines with prompts and control images share."""

import math
from collections.abc import Sequence

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.pipelines.engines.base import Request


def check_prompted_request(
    request: Request, conditions: Sequence[Condition], kinds: Sequence[str]
) -> None:
    """Raise ValueError for an invalid request; `kinds` are those of its control images."""
    problem = _problem(request, conditions, kinds)
    if problem:
        raise ValueError(f"sample {request.sample_id!r}: {problem}")


def _problem(request: Request, conditions: Sequence[Condition], kinds: Sequence[str]) -> str:
    if request.condition not in conditions:
        return f"condition {request.condition!r} is not supported"
    if not (math.isfinite(request.severity) and 0 <= request.severity <= 1):
        return f"severity is {request.severity}; expected a number in [0, 1]"
    if not 0 <= request.seed < 2**63:
        return f"seed is {request.seed}; expected 0 to 2^63 - 1"
    if not request.prompt.strip():
        return "the prompt is empty; expected the condition's phrase and a caption"
    if len(request.control_images) != len(kinds):
        expected = ", ".join(kinds) or "none"
        return f"{len(request.control_images)} control images; expected one for each of: {expected}"
    for image in (request.image, *request.control_images):
        if image.dtype != np.uint8 or image.shape != (*request.image.shape[:2], 3):
            found = f"{image.dtype} {image.shape}"
            return f"an image is {found}; expected uint8, all of the frame's size, 3 channels"
    return ""
