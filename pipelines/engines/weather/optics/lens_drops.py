"""Drops on the lens or the windscreen: small upside-down pictures, out of focus."""

import cv2
import numpy as np

from nightrain.pipelines.engines.weather.optics.filters import enlarged, reduced

FACTOR = 2
MAX_DROPS = 26


def add_lens_drops(light: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
    """Lay refracting drops over linear light (H, W, 3); none at severity 0."""
    count = int(rng.poisson(MAX_DROPS * severity**1.5))
    if count == 0:
        return light
    small = reduced(light, FACTOR)
    scale = max(small.shape[:2]) / 384
    small = cv2.GaussianBlur(small, (0, 0), max(1.5 * scale, 0.4))
    source, share, shade = _drop_maps(small.shape[:2], count, scale, rng)
    refracted = cv2.remap(
        small, source[0], source[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    refracted *= shade[..., None]
    share = enlarged(share, light.shape)
    return cv2.blendLinear(enlarged(refracted, light.shape), light, share, 1 - share)


def _drop_maps(
    shape: tuple[int, ...], count: int, scale: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each pixel looks (2, h, w), how much of it a drop covers and the drop's shade."""
    height, width = shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    source, share = np.stack([columns, rows]), np.zeros(shape, np.float32)
    shade = np.ones(shape, np.float32)
    centres = rng.uniform(0, 1, (count, 2)) * (width, height)
    radii = np.minimum(rng.lognormal(np.log(4.5), 0.55, count), 18.0) * scale
    wobble = rng.normal(0, 0.12, (count, 4))
    for (cx, cy), radius, bumps in zip(centres, radii, wobble, strict=True):
        reach = int(radius * 1.8) + 2
        box = (
            slice(max(0, int(cy) - reach), min(height, int(cy) + reach + 1)),
            slice(max(0, int(cx) - reach), min(width, int(cx) + reach + 1)),
        )
        dx, dy = columns[box] - np.float32(cx), rows[box] - np.float32(cy)
        distance = _drop_distance(dx, dy, float(radius), bumps)
        cover = np.clip((1.15 - distance) / 0.45, 0, 1)
        inside = cover > share[box]
        # The drop is a strong lens: it shows a wide field, upside down.
        source[0][box][inside] = (np.float32(cx) - 5 * dx)[inside]
        source[1][box][inside] = (np.float32(cy) - 5 * dy)[inside]
        shade[box][inside] = (1.08 - 0.35 * np.clip(distance, 0, 1.2) ** 3)[inside]
        share[box] = np.maximum(share[box], 0.92 * cover)
    return source, share, shade


def _drop_distance(dx: np.ndarray, dy: np.ndarray, radius: float, bumps: np.ndarray) -> np.ndarray:
    angle = np.arctan2(dy, dx)
    outline = 1 + bumps[0] * np.cos(angle) + bumps[1] * np.sin(2 * angle)
    outline += bumps[2] * np.cos(2 * angle) + 0.5 * bumps[3] * np.sin(3 * angle)
    return (np.hypot(dx, dy * np.float32(0.9)) / (radius * outline)).astype(np.float32)
