"""Night rain: lamps, wet ground, air, drops, lens and sensor, in the order of the light path."""

import cv2
import numpy as np

from nightrain.pipelines.engines.weather.night import (
    FULL_SCALE_LUX,
    NightLight,
    light_up,
    seen_at_night,
)
from nightrain.pipelines.engines.weather.optics.filters import enlarged, reduced, soft
from nightrain.pipelines.engines.weather.optics.ground_mirror import mirrored
from nightrain.pipelines.engines.weather.optics.headlights import beam_candela
from nightrain.pipelines.engines.weather.optics.lens import add_lens_drops
from nightrain.pipelines.engines.weather.optics.optical_scene import OpticalScene
from nightrain.pipelines.engines.weather.optics.particles import layer_opacity
from nightrain.pipelines.engines.weather.optics.photometry import desaturate
from nightrain.pipelines.engines.weather.optics.veil import koschmieder, transmission
from nightrain.pipelines.engines.weather.optics.wet import wet_ground
from nightrain.pipelines.engines.weather.rain import (
    LAYERS_M,
    rain_extinction_per_m,
    rain_shower,
    spray_extinction_per_m,
)

NIGHT_EXPOSURE_S = 0.025
NIGHT_WET_ALBEDO = 0.35  # water reflects the headlights away from the camera
SCATTERED_SHARE = 0.45  # share of the light lost in wet air that stays in view
DROP_SHARE = 0.12  # share of a drop's illuminance that reaches the camera


def night_rain(
    scene: OpticalScene, physical: dict[str, float], severity: float, rng: np.random.Generator
) -> np.ndarray:
    """Render a rainy night: linear light (H, W, 3), unbounded."""
    rate = physical["rain_mm_per_h"]
    lit = light_up(scene, physical, severity, rng)
    wetness = 0.5 + 0.5 * severity
    # A lamp's mirror image on a rippled film is a long streak towards the camera.
    mirror = mirrored(lit.radiance, scene, smear=1 / 8)
    light = wet_ground(lit.radiance, mirror, scene, wetness, rng, albedo=NIGHT_WET_ALBEDO)
    beta = rain_extinction_per_m(rate) + spray_extinction_per_m(rate)
    light = _through_wet_air(light, scene, beta)
    light = _add_lit_streaks(light, lit, scene, rate, rng)
    light = add_lens_drops(light, severity, scene.visible, rng)
    gain, glare = physical["sensor_gain"], 1.4 + severity
    return seen_at_night(light, lit.around, scene, severity, gain, glare, rng)


def _through_wet_air(light: np.ndarray, scene: OpticalScene, beta: float) -> np.ndarray:
    """Attenuate by distance; the scattered light returns as a glow around the lamps.

    After Narasimhan and Nayar 2003, with one wide blur in place of their multiple scattering.
    """
    t = transmission(np.minimum(scene.range_m, 400), beta)
    glow = soft(light, max(scene.shape) / 9, factor=8)
    glow = desaturate(np.minimum(glow, 3), 0.4) * np.float32(SCATTERED_SHARE)
    scene.leave_visible(t)
    return koschmieder(light, glow, t)


def _add_lit_streaks(
    light: np.ndarray, lit: NightLight, scene: OpticalScene, rate: float, rng: np.random.Generator
) -> np.ndarray:
    """Add rain streaks, lit by the low beams and by the glow of the lamps."""
    shower = rain_shower(rate, NIGHT_EXPOSURE_S, rng)
    glow = reduced(lit.radiance, 8)
    glow = cv2.GaussianBlur(glow, (0, 0), max(max(scene.shape) / 14 / 8, 0.3))
    half = max(1, scene.shape[0] // 2), max(1, scene.shape[1] // 2)
    glow = enlarged(glow, half)
    for layers in (LAYERS_M[2:], LAYERS_M[:2]):  # far, then near
        opacities = [layer_opacity(shower, scene, *layer, rng) for layer in layers]
        opacity = 1 - (1 - opacities[0]) * (1 - opacities[1])
        beam = _beam_at(scene, layers[0][1], half) * np.float32(DROP_SHARE / FULL_SCALE_LUX)
        drops = cv2.add(glow, cv2.merge([beam * colour for colour in lit.headlamp]))
        light = cv2.blendLinear(enlarged(drops, scene.shape), light, opacity, 1 - opacity)
        scene.leave_visible(1 - opacity)
    return light


def _beam_at(scene: OpticalScene, distance_m: float, shape: tuple[int, ...]) -> np.ndarray:
    """Illuminance (h, w) in lux of the low beams on a drop at a given distance along each ray."""
    down = scene.plane.normal_down.astype(np.float32)
    x = cv2.resize(scene.rays_x, (shape[1], 1), interpolation=cv2.INTER_LINEAR)
    y = cv2.resize(scene.rays_y, (1, shape[0]), interpolation=cv2.INTER_LINEAR)
    forward, right = scene.car.forward, scene.car.right
    ahead = x * forward[0] + (y * forward[1] + forward[2])  # (h, w)
    lit = ahead > 0.05
    ahead = np.maximum(ahead, np.float32(0.05))
    below = x * down[0] + (y * down[1] + (down[2] - np.float32(0.85 / distance_m)))
    across = (x * right[0] + (y * right[1] + right[2])) / ahead
    lux = beam_candela(across, below / ahead) * lit / np.float32(max(distance_m, 1.5) ** 2)
    return np.minimum(lux, np.float32(120.0)).astype(np.float32)
