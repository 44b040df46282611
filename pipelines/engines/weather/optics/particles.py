"""Falling particles: drops and flakes placed in space and drawn layer by layer (eq. 10).

Equations: docs/papers/weather.md.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from nightrain.pipelines.engines.weather.optics.filters import smoothstep
from nightrain.pipelines.engines.weather.optics.optical_scene import OpticalScene

SUBPIXEL_BITS = 4
MAX_PER_LAYER = 2500
APERTURE_M = 0.0012  # about 4 mm at f / 3; it blurs drops near the lens
FOCUS_M = 12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shower:
    """Particles of one shower: concentration, sizes, speeds and exposure."""

    per_m3: float
    diameter_m: np.ndarray  # (K,) a sample of the size distribution
    fall_m_per_s: np.ndarray  # (K,) of the same particles
    wind_m_per_s: tuple[float, float]  # across and towards the camera, with the car's motion
    exposure_s: float
    opacity: float  # for a particle that covers its pixels for the whole exposure


def layer_opacity(
    shower: Shower, scene: OpticalScene, near_m: float, far_m: float, rng: np.random.Generator
) -> np.ndarray:
    """Opacity (H, W) in [0, 1] of particles between two distances, hidden by nearer surfaces."""
    shape, focal = scene.shape, scene.focal_px
    volume = shape[0] * shape[1] / focal**2 * (far_m**3 - near_m**3) / 3
    wanted = float(rng.poisson(min(shower.per_m3 * volume, 1e7)))
    count = int(min(wanted, MAX_PER_LAYER))
    if count == 0:
        return np.zeros(shape, np.float32)
    head, tail, z, pick = _tracks(shower, scene, near_m, far_m, count, rng)
    width_px = focal * shower.diameter_m[pick] / z
    length_px = np.hypot(*(tail - head).T)
    dwell = np.clip(width_px / np.maximum(length_px, width_px), 0, 1)
    # A line is at least one pixel wide: thinner particles are drawn fainter. If not all
    # particles are drawn, those that are represent the rest.
    opacity = shower.opacity * dwell * np.minimum(width_px, 1) * min(np.sqrt(wanted / count), 2.0)
    blur_px = focal * APERTURE_M * abs(1 / np.sqrt(near_m * far_m) - 1 / FOCUS_M)
    drawn = _draw(shape, head, tail, width_px, opacity, blur_px)
    # Particles fill the layer evenly, so a surface inside it hides only those behind it.
    return drawn * smoothstep(scene.depth_m, near_m, far_m)


def _tracks(
    shower: Shower,
    scene: OpticalScene,
    near_m: float,
    far_m: float,
    count: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Ends (N, 2) in pixels of each path during the exposure, distance and size index (N,)."""
    z = np.cbrt(rng.uniform(near_m**3, far_m**3, count))
    pixel = rng.uniform(-0.05, 1.05, (count, 2)) * scene.shape[::-1]
    pick = rng.integers(0, len(shower.diameter_m), count)
    k = scene.intrinsics
    centre, focal = k[:2, 2], np.array([k[0, 0], k[1, 1]])
    start = (pixel - centre) / focal * z[:, None]  # (N, 2) metres
    across, towards = shower.wind_m_per_s
    gust = 1 + 0.15 * rng.standard_normal(count)
    moved = np.stack([across * gust, shower.fall_m_per_s[pick]], axis=1) * shower.exposure_s
    z_end = np.maximum(z - towards * shower.exposure_s, 0.3)
    tail = (start + moved) / z_end[:, None] * focal + centre
    return pixel, tail, z, pick


def _draw(
    shape: tuple[int, int],
    head: np.ndarray,
    tail: np.ndarray,
    width_px: np.ndarray,
    opacity: np.ndarray,
    blur_px: float,
) -> np.ndarray:
    top = max(float(np.percentile(opacity, 98)), 1e-6)
    ends = np.stack([head, tail], axis=1)  # (N, 2, 2)
    ends = np.rint(np.clip(ends, -4000, 8000) * (1 << SUBPIXEL_BITS)).astype(np.int32)
    canvas = np.zeros(shape, np.uint8)
    order = np.argsort(opacity, kind="stable")
    for group in np.array_split(order, 4):  # faint first, so that strong ones stay on top
        if len(group) == 0:
            continue
        level = min(1.0, float(opacity[group].mean()) / top)
        thickness = max(1, round(float(width_px[group].mean())))
        lines = list(ends[group])
        cv2.polylines(canvas, lines, False, (255 * level,), thickness, cv2.LINE_AA, SUBPIXEL_BITS)
    # A blur spreads the light of a line over more pixels; the mean does not change.
    return _blurred(canvas, blur_px).astype(np.float32) * np.float32(min(top, 1.0) / 255)


def _blurred(canvas: np.ndarray, blur_px: float) -> np.ndarray:
    if blur_px < 0.25:
        return canvas
    side = 2 * round(blur_px + 0.5) + 1
    return cv2.blur(cv2.blur(canvas, (side, side)), (3, 3))
