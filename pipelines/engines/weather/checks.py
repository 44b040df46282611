"""Validation of the weather engine's requests."""

import math

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.pipelines.engines.base import Request


def check_request(request: Request, offered: tuple[Condition, ...]) -> None:
    """Raise ValueError for an invalid request; the message says what was found and expected."""
    if request.condition not in offered:
        names = ", ".join(offered)
        raise _invalid(request, f"condition is {str(request.condition)!r}; expected one of {names}")
    severity = request.severity
    if not (math.isfinite(severity) and 0 <= severity <= 1):
        raise _invalid(request, f"severity is {severity}; expected a number in [0, 1]")
    if request.seed < 0:
        raise _invalid(request, f"seed is {request.seed}; expected an integer of at least 0")
    _check_image(request)
    _check_depth(request)
    _check_intrinsics(request)
    mounting = request.T_ego_camera
    if mounting is not None and (mounting.shape != (4, 4) or not np.isfinite(mounting).all()):
        raise _invalid(
            request,
            f"T_ego_camera has shape {mounting.shape} or is not finite; expected (4, 4)",
        )


def _invalid(request: Request, what: str) -> ValueError:
    return ValueError(f"sample {request.sample_id!r}: {what}")


def _check_image(request: Request) -> None:
    image = request.image
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        found = f"{image.dtype} {image.shape}"
        raise _invalid(request, f"image is {found}; expected uint8 (H, W, 3)")


def _check_depth(request: Request) -> None:
    depth = request.depth_m
    if depth is None:
        raise _invalid(request, "depth_m is None; the weather engine needs dense depth in metres")
    if depth.dtype != np.float32 or depth.shape != request.image.shape[:2]:
        found, expected = f"{depth.dtype} {depth.shape}", f"float32 {request.image.shape[:2]}"
        raise _invalid(request, f"depth_m is {found}; expected {expected}, as the image")
    bad = int(np.count_nonzero(~(depth > 0)))
    if bad:
        raise _invalid(
            request,
            f"depth_m is NaN, zero or negative in {bad} of {depth.size} pixels; expected dense "
            "depth in metres above 0, sky = inf",
        )


def _check_intrinsics(request: Request) -> None:
    k = np.asarray(request.intrinsics)
    if k.shape != (3, 3) or not np.isfinite(k).all() or k[0, 0] <= 0 or k[1, 1] <= 0:
        raise _invalid(
            request,
            f"intrinsics are {k.tolist()}; expected a finite (3, 3) matrix in pixels with "
            "positive focal lengths",
        )
