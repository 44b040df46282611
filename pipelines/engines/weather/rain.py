"""Rain: streaks, veil, wet ground and lens drops (docs/papers/weather.md, eq. 7 to 10)."""

import cv2
import numpy as np

from nightrain.pipelines.engines.weather.lamps.tail_lamps import add_tail_lamps
from nightrain.pipelines.engines.weather.optics.filters import smooth_noise, soft
from nightrain.pipelines.engines.weather.optics.ground_mirror import mirrored
from nightrain.pipelines.engines.weather.optics.lens import add_lens_drops
from nightrain.pipelines.engines.weather.optics.optical_scene import OpticalScene
from nightrain.pipelines.engines.weather.optics.overcast import grey_sky, under_grey_sky
from nightrain.pipelines.engines.weather.optics.particles import Shower, layer_opacity
from nightrain.pipelines.engines.weather.optics.photometry import add_fine_grain, luminance
from nightrain.pipelines.engines.weather.optics.veil import (
    extinction_per_m,
    koschmieder,
    refined,
    transmission,
)
from nightrain.pipelines.engines.weather.optics.wet import wet_ground

DROPS_PER_M3_MM = 8000.0  # N0 of Marshall and Palmer 1948
MIN_DROP_MM, MAX_DROP_MM = 0.7, 6.0  # smaller drops look like a veil; larger ones break up
LAYERS_M = ((0.5, 1.2), (1.2, 3.0), (3.0, 7.0), (7.0, 18.0))
DAY_EXPOSURE_S = 0.014
CAR_M_PER_S = 7.0
DROP_OPACITY = 3.0  # above 1: a drop gathers the brightest part of a wide sky; chosen by eye
BLACK_POINT = 0.65  # share of the darkest percent of the picture
TAIL_LAMP_LIGHT = 0.7  # of a white surface under the sky
SPRAY_VISIBILITY_M = (6000.0, 500.0)  # mist and spray at 2 and at 100 mm/h


def size_slope_per_mm(rain_mm_per_h: float) -> float:
    """Lambda of N(D) = N0 exp(-Lambda D), in 1/mm (Marshall and Palmer 1948, Eq. 3)."""
    return float(4.1 * rain_mm_per_h**-0.21)


def fall_speed_m_per_s(diameter_mm: np.ndarray) -> np.ndarray:
    """Terminal speed of drops (N,): Gunn and Kinzer 1949 as fitted by Atlas et al. 1973."""
    return np.maximum(9.65 - 10.3 * np.exp(-0.6 * diameter_mm), 0.1)


def rain_extinction_per_m(rain_mm_per_h: float) -> float:
    """Optical extinction 0.312 R^0.67 per km, in 1/m (Weber et al. 2015; Halder et al. 2019)."""
    return float(0.312e-3 * rain_mm_per_h**0.67)


def spray_extinction_per_m(rain_mm_per_h: float) -> float:
    """Extinction in 1/m of the mist and spray over a road in rain; chosen, not measured."""
    light, heavy = (extinction_per_m(v) for v in SPRAY_VISIBILITY_M)
    slope = np.log(heavy / light) / np.log(100.0 / 2.0)
    return float(light * (rain_mm_per_h / 2.0) ** slope)


def rain_shower(rain_mm_per_h: float, exposure_s: float, rng: np.random.Generator) -> Shower:
    """Visible drops of a rain rate in mm/h, with the wind and the car's own motion."""
    slope = size_slope_per_mm(rain_mm_per_h)
    floor = np.exp(-slope * (MAX_DROP_MM - MIN_DROP_MM))
    diameter_mm = MIN_DROP_MM - np.log(rng.uniform(floor, 1, 512)) / slope
    return Shower(
        per_m3=DROPS_PER_M3_MM / slope * float(np.exp(-slope * MIN_DROP_MM)),
        diameter_m=diameter_mm * 1e-3,
        fall_m_per_s=fall_speed_m_per_s(diameter_mm),
        wind_m_per_s=(float(rng.normal(0, 1.2)), CAR_M_PER_S),
        exposure_s=exposure_s,
        opacity=DROP_OPACITY,
    )


def add_streaks(
    light: np.ndarray,
    scene: OpticalScene,
    shower: Shower,
    drop_light: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Composite streaks of `drop_light` (H, W, 3) over linear light (H, W, 3), far layers first.

    A drop covers a pixel for part of the exposure, and refracts light of most of the sky (Garg and
    Nayar 2007; docs/papers/weather.md, eq. 10).
    """
    clear_share = np.ones(scene.shape, np.float32)
    for near_m, far_m in reversed(LAYERS_M):
        clear_share *= 1 - layer_opacity(shower, scene, near_m, far_m, rng)
    scene.leave_visible(clear_share)
    return cv2.blendLinear(light, drop_light, clear_share, 1 - clear_share)


def _drop_light(veiled: np.ndarray, airlight: np.ndarray, scene: OpticalScene) -> np.ndarray:
    around = soft(veiled, max(scene.shape) / 12, factor=8)
    around *= np.float32(0.45)
    around += 0.65 * airlight
    return around


def _with_contrast(light: np.ndarray) -> np.ndarray:
    """Linear light (H, W, 3) of a camera that sets its black point to part of the veil."""
    darkest = float(np.percentile(luminance(light[::4, ::4]), 1))
    black = np.float32(BLACK_POINT * darkest)
    return np.maximum(light - black, 0) * np.float32(1 / (1 - black))


def rain(
    scene: OpticalScene, rain_mm_per_h: float, severity: float, rng: np.random.Generator
) -> np.ndarray:
    """Render rain of a rate in mm/h: linear light (H, W, 3)."""
    sky = grey_sky(scene, 0.68 - 0.14 * severity, rng)
    airlight = np.array([0.97, 1.0, 1.02], np.float32) * np.float32(0.56 - 0.12 * severity)
    dull = under_grey_sky(
        scene, 0.25 + 0.15 * severity, 0.2 + 0.25 * severity, 1.0 - 0.15 * severity, sky
    )
    add_tail_lamps(dull, scene, TAIL_LAMP_LIGHT, rng)
    dull = wet_ground(dull, mirrored(dull, scene), scene, 0.45 + 0.55 * severity, rng)
    beta = rain_extinction_per_m(rain_mm_per_h) + spray_extinction_per_m(rain_mm_per_h)
    density = np.clip(1 + 0.15 * smooth_noise(rng, scene.shape, (2, 3), octaves=2), 0.5, 1.5)
    t = refined(transmission(np.minimum(scene.range_m, 1500.0), beta, density), scene)
    veiled = koschmieder(dull, airlight, t)
    scene.leave_visible(t)
    shower = rain_shower(rain_mm_per_h, DAY_EXPOSURE_S, rng)
    veiled = add_streaks(veiled, scene, shower, _drop_light(veiled, airlight, scene), rng)
    veiled = _with_contrast(add_lens_drops(veiled, severity, scene.visible, rng))
    return add_fine_grain(veiled, shot=1e-4, read=1.5e-3, rng=rng)
