"""Lens: drops on it, glare around strong lights (docs/papers/weather.md, eq. 16), vignetting."""

import cv2
import numpy as np

from nightrain.pipelines.engines.weather.optics.filters import enlarged, reduced
from nightrain.pipelines.engines.weather.optics.optical_scene import OpticalScene
from nightrain.pipelines.engines.weather.optics.wet_glass import add_wet_glass

CLOSE_GLASS_SHARE = 0.5
FACTOR = 2
MAX_DROPS = 26
HALOS = ((1 / 110, 0.045), (1 / 32, 0.02), (1 / 10, 0.008))  # sigma / width, share of the light
MAX_LIGHT = 60.0
CORNER_LOSS = 0.28


def add_lens_drops(
    light: np.ndarray, severity: float, visible: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Composite refracting drops over linear light (H, W, 3); none at severity 0.

    Half of the images are seen through a wet glass close to the lens, half through a windscreen
    whose drops are nearly in focus. What they hide is taken from `visible` (H, W), in place.
    """
    if rng.random() < CLOSE_GLASS_SHARE:
        return add_wet_glass(light, severity, visible, rng)
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
    visible *= 1 - share
    return cv2.blendLinear(enlarged(refracted, light.shape), light, share, 1 - share)


def _drop_maps(
    shape: tuple[int, ...], count: int, scale: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Source position of each pixel (2, h, w), drop coverage and drop shade (h, w)."""
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
        # A drop is a strong lens: it shows a wide field of view, upside down.
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


def add_glare(light: np.ndarray, strength: float = 1.0) -> np.ndarray:
    """Spread part of linear light (H, W, 3) over wide halos (Spencer et al. 1995, as Gaussians).

    Light is moved, not added, so the mean does not change.
    """
    width = max(light.shape[:2])
    small = np.minimum(reduced(light, 4), np.float32(MAX_LIGHT))
    halo, kept = np.zeros_like(small), 1.0
    for sigma, share in HALOS:
        share = min(0.3, share * strength)
        kept -= share
        halo += np.float32(share) * _wide_blur(small, sigma * width / 4)
    return cv2.addWeighted(light, kept, enlarged(halo, light.shape), 1.0, 0.0)


def _wide_blur(field: np.ndarray, sigma_px: float) -> np.ndarray:
    factor = max(1, int(sigma_px / 3))
    small = reduced(field, factor)
    blurred = cv2.GaussianBlur(small, (0, 0), max(sigma_px / factor, 0.3))
    # Cubic, because linear enlargement shows its facets in a dark sky.
    return np.maximum(cv2.resize(blurred, field.shape[1::-1], interpolation=cv2.INTER_CUBIC), 0)


def dim_corners(light: np.ndarray, scene: OpticalScene) -> np.ndarray:
    """Natural vignetting of linear light (H, W, 3), in place, towards the image's corners."""
    height, width = scene.shape
    rows = (np.arange(height, dtype=np.float32)[:, None] + 0.5) * (2 / height) - 1
    columns = (np.arange(width, dtype=np.float32)[None] + 0.5) * (2 / width) - 1
    kept = 1 - np.float32(CORNER_LOSS / 2) * (rows * rows + columns * columns)
    return cv2.multiply(light, cv2.merge([kept, kept, kept]), dst=light)
