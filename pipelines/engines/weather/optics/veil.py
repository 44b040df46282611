"""Veils: attenuation and airlight in fog, rain or snow (docs/papers/weather.md, eq. 4 to 6)."""

from typing import Any

import cv2
import numpy as np

from nightrain.pipelines.engines.weather.optics.filters import guided, smooth_noise
from nightrain.pipelines.engines.weather.optics.optical_scene import FAR_M, OpticalScene
from nightrain.pipelines.engines.weather.optics.overcast import shadow_gain
from nightrain.pipelines.engines.weather.optics.photometry import (
    add_fine_grain,
    desaturate,
    luminance,
)

CONTRAST_AT_VISIBILITY = 0.05  # CIE / WMO: meteorological optical range
AIRLIGHT_RANGE = (0.35, 0.62)  # luminance of daylight fog in exposed linear light
DENSITY_RIPPLE = 0.16
SUN_BEHIND_FOG = 0.35  # share of the large-scale contrast that is lost with the sun


def extinction_per_m(visibility_m: float) -> float:
    """beta = -ln(0.05) / V in 1/m: contrast falls to 5 % at the visibility (Koschmieder 1924)."""
    return float(-np.log(CONTRAST_AT_VISIBILITY) / visibility_m)


def transmission(
    range_m: np.ndarray, extinction: float, density: np.ndarray | None = None
) -> np.ndarray:
    """t = exp(-beta r) (H, W) for ranges (H, W) in metres, beta in 1/m times a relative density."""
    depth_optical = range_m * np.float32(-extinction)
    if density is not None:
        depth_optical *= density
    return cv2.exp(np.maximum(depth_optical, -80))


def koschmieder(scene_light: np.ndarray, airlight: np.ndarray, t: np.ndarray) -> np.ndarray:
    """I = J t + A (1 - t) in linear light (H, W, 3); airlight (3,) or (H, W, 3) (Koschmieder)."""
    t3 = cv2.merge([t, t, t])
    if airlight.ndim == 3:
        above = cv2.subtract(scene_light, airlight)
        return cv2.add(cv2.multiply(above, t3, dst=above), airlight, dst=above)
    colour: Any = (*(float(c) for c in airlight), 0.0)  # cv2's stubs know no scalars here
    above = cv2.subtract(scene_light, colour)  # (J - A) t + A: the same sum in fewer passes
    return cv2.add(cv2.multiply(above, t3, dst=above), colour, dst=above)


def airlight_of(scene: OpticalScene) -> np.ndarray:
    """Airlight (3,): the mean colour of the sky or of the brightest distant part, nearly grey."""
    far = scene.depth_m >= FAR_M
    if np.count_nonzero(far) < 0.005 * far.size:
        sample = scene.depth_m[::4, ::4]
        far = scene.depth_m >= np.percentile(sample, 90)
        far &= scene.luminance >= np.percentile(scene.luminance[far], 80)
    colour = np.asarray(cv2.mean(scene.clear, far.astype(np.uint8))[:3], np.float32)
    colour = desaturate(colour.reshape(1, 1, 3), 0.8)
    grey = float(luminance(colour)[0, 0])
    wanted = float(np.clip(grey, *AIRLIGHT_RANGE))
    return (colour[0, 0] / max(grey, 1e-3) * wanted).clip(0.0, 1.0).astype(np.float32)


def refined(t: np.ndarray, scene: OpticalScene) -> np.ndarray:
    """Refine a transmission (H, W) along the image's edges (as He et al. 2013 for dehazing)."""
    smooth = guided(scene.luminance, t, max(scene.shape) / 128, eps=4e-3, factor=2)
    return np.clip(smooth, 0, 1, out=smooth)


def fog(scene: OpticalScene, visibility_m: float, rng: np.random.Generator) -> np.ndarray:
    """Render fog of a visibility in metres: linear light (H, W, 3)."""
    beta = extinction_per_m(visibility_m)
    ripple = smooth_noise(rng, scene.shape, (2, 3), octaves=2)
    density = np.clip(1 + DENSITY_RIPPLE * ripple, 0.6, 1.4)
    t = refined(transmission(scene.range_m, beta, density), scene)
    grey = 0.3 * float(np.clip(1 - visibility_m / 600, 0, 1))
    glow = 1 + 0.05 * smooth_noise(rng, scene.shape, (1, 2), octaves=2)
    airlight = np.multiply(glow[..., None], airlight_of(scene))
    gain = shadow_gain(scene, SUN_BEHIND_FOG)
    surfaces = cv2.multiply(desaturate(scene.clear, grey), cv2.merge([gain, gain, gain]))
    scene.leave_visible(t)
    veiled = koschmieder(surfaces, airlight, t)
    return add_fine_grain(veiled, shot=4e-5, read=1e-3, rng=rng)
