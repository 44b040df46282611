"""A street of known depth as a request of the weather engine, and the engine's picture of it."""

from dataclasses import replace

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.pipelines.engines.base import Request
from nightrain.pipelines.engines.weather.engine import WeatherEngine
from nightrain.pipelines.engines.weather.optics.photometry import luminance, srgb_to_linear

CAMERA_HEIGHT_M = 1.6


def intrinsics(width, height):
    focal = 0.8 * width
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1.0]])


def rng(seed=0):
    return np.random.Generator(np.random.SFC64(seed))


def street(width=320, height=180, wall_m=25.0, wall_height_m=6.0):
    """A grey road, a red-brown wall across it, a blue sky; exact depth."""
    k = intrinsics(width, height)
    y = (np.arange(height)[:, None] - k[1, 2]) / k[1, 1] + np.zeros((1, width))
    ground = np.where(y > 0, CAMERA_HEIGHT_M / np.maximum(y, 1e-9), np.inf)
    wall = np.where(y * wall_m > CAMERA_HEIGHT_M - wall_height_m, wall_m, np.inf)
    depth = np.minimum(ground, wall).astype(np.float32)
    image = np.empty((height, width, 3), np.uint8)
    image[:] = (135, 165, 205)
    image[np.isfinite(depth)] = (150, 105, 85)
    image[ground < wall] = (105, 104, 102)
    image[np.isfinite(depth)] += rng(9).integers(0, 12, (height, width, 3), np.uint8)[
        np.isfinite(depth)
    ]
    return image, depth, k


def request(condition=Condition.FOG, severity=0.5, seed=7, scene=None, **changes):
    image, depth, k = street() if scene is None else scene
    made = Request(
        sample_id="street",
        image=image,
        depth_m=depth,
        intrinsics=k,
        condition=condition,
        severity=severity,
        seed=seed,
    )
    return replace(made, **changes)


def picture(**arguments):
    return WeatherEngine().generate([request(**arguments)])[0].image


def light(image):
    return luminance(srgb_to_linear(image))
