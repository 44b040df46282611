"""Night: surfaces of the clear frame, relit by lamps and seen by a camera at high gain.

docs/papers/weather.md, eq. 14 to 17.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from nightrain.pipelines.engines.weather.lamps.head_lamps import add_head_lamps
from nightrain.pipelines.engines.weather.lamps.lit_windows import add_lit_windows
from nightrain.pipelines.engines.weather.lamps.street_lamps import (
    StreetLamps,
    draw_far_traffic,
    draw_lamps,
    lamp_lux,
    place_lamps,
)
from nightrain.pipelines.engines.weather.lamps.tail_lamps import add_tail_lamps
from nightrain.pipelines.engines.weather.optics.filters import dot, enlarged, soft
from nightrain.pipelines.engines.weather.optics.ground import pixel_rays, surface_normals
from nightrain.pipelines.engines.weather.optics.headlights import headlight_lux
from nightrain.pipelines.engines.weather.optics.lens import add_glare, dim_corners
from nightrain.pipelines.engines.weather.optics.optical_scene import OpticalScene
from nightrain.pipelines.engines.weather.optics.overcast import shadow_gain
from nightrain.pipelines.engines.weather.optics.photometry import (
    add_sensor_noise,
    expose,
    luminance,
)

FACTOR = 3  # light is computed at a third of the resolution, surfaces at full resolution
FULL_SCALE_LUX = 34.0  # illuminance that makes a white surface white at exposure 1
MEAN_REFLECTANCE = 0.15
AMBIENT_COLOUR = np.array([0.86, 1.0, 1.22], np.float32)
INDIRECT_SHARE = 0.15  # of the illuminance around a surface: light that surfaces hand on
SKY_SHARE = 0.1  # of the ambient light: the rest comes from lit fronts and clouds out of view
TOWN_GLOW_LUX = 0.08  # of the sky above the horizon, beside the ambient light
TAIL_LAMP_LIGHT = 9.0  # full scales of the night's exposure
HEAD_LAMP_LIGHT = 60.0
METERED_LUMA = (62.0, 38.0)  # mean of the picture at severity 0 and 1
HIDDEN_LIGHT = 0.02  # exposed light around a pixel of which half is visible; luma 38
AROUND = 80  # width of the picture over the radius of a pixel's surroundings
EXPOSURES = (0.4, 8.0)
SHOT_PER_GAIN = 1.2e-5  # shot noise variance per unit of light, per unit of gain
READ_PER_ROOT_GAIN = 1.7e-4
GRAIN = (1.0, 3.0)  # times the noise's amplitude: cameras smooth it away, or do not
LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True, slots=True, kw_only=True)
class NightLight:
    """Light of a night scene, before the effects of air and lens."""

    radiance: np.ndarray  # (H, W, 3) float32, linear, exposed
    around: np.ndarray  # (H, W) float32, mean light of the surfaces around each pixel, no lamps
    headlamp: np.ndarray  # (3,) colour of the car's own lamps


def light_up(
    scene: OpticalScene, physical: dict[str, float], severity: float, rng: np.random.Generator
) -> NightLight:
    """Relight the scene with lamps instead of the sun: linear light at the night exposure."""
    street = place_lamps(scene, physical["street_lamp_cd"], rng)
    tint = rng.uniform(-0.06, 0.06)
    headlamp = np.array([1.0 - tint, 0.96, 0.9 + 2 * tint], np.float32)
    direct = _surface_lux(scene, street, headlamp)
    direct += np.float32(INDIRECT_SHARE) * soft(direct, max(direct.shape) / 8, factor=8)
    lux = enlarged(direct, scene.shape)
    lux += np.float32(physical["ambient_lux"]) * AMBIENT_COLOUR
    lux *= np.float32(1 / FULL_SCALE_LUX)
    solid = cv2.multiply(_reflectance(scene), lux, dst=lux)
    sky = _night_sky(scene, physical["ambient_lux"], street.colour)
    radiance = cv2.blendLinear(sky, solid, scene.sky, 1 - scene.sky)
    around = soft(luminance(radiance), max(scene.shape) / AROUND, factor=4)
    add_lit_windows(radiance, scene, rng)
    add_tail_lamps(radiance, scene, TAIL_LAMP_LIGHT, rng)
    add_head_lamps(radiance, scene, HEAD_LAMP_LIGHT, rng)
    draw_lamps(radiance, scene, street, FULL_SCALE_LUX)
    draw_far_traffic(radiance, scene, round(16 - 8 * severity), 9.0 - 4.0 * severity, rng)
    return NightLight(radiance=radiance, around=around, headlamp=headlamp)


def _reflectance(scene: OpticalScene) -> np.ndarray:
    """Estimate diffuse reflectance (H, W, 3): the image with most sunlight and shadow removed."""
    solid = (scene.sky < 0.5).astype(np.uint8)
    mean = max(float(cv2.mean(scene.luminance, solid)[0]), 0.02)
    gain = shadow_gain(scene, 0.45)
    gain *= np.float32(MEAN_REFLECTANCE / mean)
    # Pixels next to the sky contain daylight that leaked over the edge: no surface is that bright.
    nearby = np.clip(1.6 * soft(scene.sky, max(scene.shape) / 110, factor=4), 0, 1)
    nearby -= 1
    nearby *= nearby
    nearby *= nearby
    cap = nearby * np.float32(0.75) + np.float32(0.05)
    np.minimum(gain, cap / np.maximum(scene.luminance, np.float32(1e-3)), out=gain)
    return cv2.multiply(scene.clear, cv2.merge([gain, gain, gain]))


def _surface_lux(scene: OpticalScene, street: StreetLamps, headlamp: np.ndarray) -> np.ndarray:
    """Illuminance (h, w, 3) in lux from headlights and street lamps, by surface orientation."""
    normals = surface_normals(scene.depth_m, scene.intrinsics, FACTOR)
    shape = normals.shape[0], normals.shape[1]
    down = scene.plane.normal_down
    ground = cv2.resize(scene.ground, shape[::-1], interpolation=cv2.INTER_AREA)
    normals += ground[..., None] * (-down.astype(np.float32) - normals)
    # LiDAR depth is rough between scan lines: only its mean slope is reliable enough for shading.
    planar = np.stack(cv2.split(cv2.blur(normals, (7, 7))))  # (3, h, w)
    points = _points_m(scene, shape)
    wrap = 0.18 - 0.165 * ground  # foliage and cloth scatter back, asphalt hardly
    headlights, lit = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for position in scene.car.lamps_m:
        lux, towards = headlight_lux(points, position, down, scene.car)
        headlights += lux * _facing(planar, towards, wrap)
    for lamp in street.lamps:
        lux, towards = lamp_lux(points, lamp, down)
        lit += lux * _facing(planar, towards, wrap)
    lit = cv2.blur(lit, (5, 5))
    colours = zip(headlamp, street.colour, strict=True)
    return cv2.merge([headlights * own + lit * other for own, other in colours])


def _points_m(scene: OpticalScene, shape: tuple[int, int]) -> np.ndarray:
    """Points (3, h, w) in metres in camera coordinates, at reduced resolution."""
    depth = cv2.resize(scene.depth_m, shape[::-1], interpolation=cv2.INTER_NEAREST)
    scale = np.array([shape[1] / scene.shape[1], shape[0] / scene.shape[0], 1.0])
    x, y = pixel_rays(shape, scene.intrinsics * scale[:, None])
    return np.stack([x * depth, y * depth, depth])


def _facing(normals: np.ndarray, towards: np.ndarray, wrap: np.ndarray) -> np.ndarray:
    """Lambert's cosine (h, w) of (3, h, w), slightly wrapped: rough surfaces scatter back."""
    return np.clip((dot(normals, towards) + wrap) / (1 + wrap), 0.0, 1.0)


def _night_sky(scene: OpticalScene, ambient_lux: float, town: np.ndarray) -> np.ndarray:
    """Night sky (H, W, 3): dark, with the town's glow, which is strongest above the horizon."""
    elevation = np.clip(-scene.rays_y, 0, 1)  # (H, 1)
    glow = 0.2 + np.exp(-elevation / 0.16) * np.float32(0.4)
    level = np.float32((SKY_SHARE * ambient_lux + TOWN_GLOW_LUX) / FULL_SCALE_LUX)
    colour = (0.25 + 0.75 * elevation) * AMBIENT_COLOUR * 0.5 + glow * town  # (H, 3)
    rows = (level * colour).astype(np.float32)[:, None]  # (H, 1, 3)
    return np.repeat(rows, scene.shape[1], axis=1)


def auto_exposure(light: np.ndarray, severity: float) -> float:
    """Exposure factor of a camera that meters for a mean luma of the picture.

    The mean of 8-bit luma after the shoulder of eq. 2 falls from 62 at severity 0 to 38 at
    severity 1, within the camera's range. Weather optics, eq. 17 (docs/papers/weather.md).
    """
    aim = METERED_LUMA[0] + severity * (METERED_LUMA[1] - METERED_LUMA[0])
    some = light[::4, ::4]
    low, high = np.log(EXPOSURES)
    for _ in range(8):  # luma grows with exposure
        middle = (low + high) / 2
        luma = float((expose(some * np.float32(np.exp(middle))).reshape(-1, 3) @ LUMA).mean())
        low, high = (middle, high) if luma < aim else (low, middle)
    return float(np.exp((low + high) / 2))


def seen_at_night(
    light: np.ndarray,
    around: np.ndarray,
    scene: OpticalScene,
    severity: float,
    sensor_gain: float,
    glare: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Apply lens and sensor to linear light (H, W, 3): halos, vignetting, gain-dependent noise.

    Where the surfaces `around` (H, W) are dark, nothing of them is visible.
    """
    exposure = auto_exposure(light, severity)
    signal = np.float32(exposure) * around
    scene.leave_visible(signal / (signal + np.float32(HIDDEN_LIGHT)))
    sensor_gain *= exposure
    light = dim_corners(add_glare(light * np.float32(exposure), glare), scene)
    grain = np.exp(rng.uniform(*np.log(GRAIN)))
    read = READ_PER_ROOT_GAIN * grain * sensor_gain**0.5
    return add_sensor_noise(light, SHOT_PER_GAIN * grain**2 * sensor_gain, read, rng)


def night(
    scene: OpticalScene, physical: dict[str, float], severity: float, rng: np.random.Generator
) -> np.ndarray:
    """Render a dry night: linear light (H, W, 3), unbounded."""
    lit = light_up(scene, physical, severity, rng)
    return seen_at_night(
        lit.radiance, lit.around, scene, severity, physical["sensor_gain"], 1.0, rng
    )
