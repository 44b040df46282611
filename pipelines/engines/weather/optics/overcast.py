"""Overcast light: softer shadows, less colour, a grey sky."""

import cv2
import numpy as np

from nightrain.pipelines.engines.weather.optics.filters import guided, smooth_noise
from nightrain.pipelines.engines.weather.optics.optical_scene import OpticalScene
from nightrain.pipelines.engines.weather.optics.photometry import desaturate

GROUND_AMOUNT = 0.7
SUNNY_PERCENTILE = 75  # of the ground's light: more than a quarter of a road is rarely paint


def shadow_gain(scene: OpticalScene, amount: float) -> np.ndarray:
    """Gain (H, W) that raises large-scale contrast to the power 1 - amount; 1 in the sky.

    The base layer of an edge-aware decomposition (Durand and Dorsey 2002, with a guided filter)
    approximates illumination, the detail layer surfaces, so sunlight is softened without halos. A
    road has one albedo: what is darker than its sunny part is shadow, to which `GROUND_AMOUNT`
    applies, and what is brighter is paint, which keeps its contrast.
    """
    log_light = cv2.log(scene.luminance + np.float32(0.012))
    base = guided(log_light, log_light, max(scene.shape) / 24, eps=0.12)
    solid = 1 - scene.sky
    middle = float(cv2.mean(base, (solid > 0.5).astype(np.uint8))[0])
    base -= np.float32(middle)
    base *= solid
    road = scene.ground > 0.5
    sunny = np.float32(np.percentile(base[road][::16], SUNNY_PERCENTILE)) if road.any() else 0
    paint = np.maximum(base - sunny, 0)
    more = np.float32(max(GROUND_AMOUNT - amount, 0.0))
    base *= np.float32(-amount) - more * scene.ground
    paint *= np.float32(max(GROUND_AMOUNT, amount)) * scene.ground
    base += paint
    return cv2.exp(base, dst=base)


def grey_sky(scene: OpticalScene, brightness: float, rng: np.random.Generator) -> np.ndarray:
    """An overcast sky (H, W, 3) in linear light: rolling clouds, lighter towards the horizon."""
    clouds = smooth_noise(rng, scene.shape, (4, 3), octaves=4)
    elevation = np.clip(-scene.rays_y / 0.5, 0, 1)  # (H, 1), level to about 27 degrees up
    light = (1.06 - 0.22 * elevation) * brightness
    light = np.clip(light * (1 + 0.1 * clouds), 0.02, 0.95).astype(np.float32)
    return cv2.merge([0.985 * light, light, 1.02 * light])


def under_grey_sky(
    scene: OpticalScene, soften: float, grey: float, exposure: float, sky: np.ndarray
) -> np.ndarray:
    """The scene (H, W, 3) in overcast light below a given sky (H, W, 3), both linear."""
    gain = shadow_gain(scene, soften)
    gain *= np.float32(exposure)
    solid = desaturate(scene.clear, grey)
    cv2.multiply(solid, cv2.merge([gain, gain, gain]), dst=solid)
    return cv2.blendLinear(sky, solid, scene.sky, 1 - scene.sky)
