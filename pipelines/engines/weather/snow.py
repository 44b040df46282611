"""Snow: flakes, a white veil, and a cover on upward surfaces (docs/papers/weather.md, eq. 7, 8)."""

import cv2
import numpy as np

from nightrain.pipelines.engines.weather.optics.filters import (
    ground_noise,
    smooth_noise,
    smoothstep,
    soft,
)
from nightrain.pipelines.engines.weather.optics.ground import upward_facing
from nightrain.pipelines.engines.weather.optics.optical_scene import FAR_M, OpticalScene
from nightrain.pipelines.engines.weather.optics.overcast import grey_sky, under_grey_sky
from nightrain.pipelines.engines.weather.optics.particles import Shower, layer_opacity
from nightrain.pipelines.engines.weather.optics.photometry import add_fine_grain, luminance
from nightrain.pipelines.engines.weather.optics.veil import koschmieder, refined, transmission
from nightrain.pipelines.engines.weather.optics.wet import ground_coordinates

GREEN_NM = 550.0
DB_PER_NEPER = 10 / np.log(10)
LAYERS_M = ((0.7, 1.5), (1.5, 3.5), (3.5, 8.0), (8.0, 20.0))
FLAKE_PER_MELTED = 3.5  # a flake's diameter over that of the drop it melts into
MIN_MELTED_MM, MAX_MELTED_MM = 0.6, 3.0
FALL_M_PER_S = 1.1
EXPOSURE_S = 0.005
CAR_M_PER_S = 5.0


def snow_extinction_per_m(snow_mm_per_h: float) -> float:
    """Extinction in 1/m of dry snow with a water equivalent in mm/h (ITU-R P.1814)."""
    db_per_km = (5.42e-5 * GREEN_NM + 5.4958776) * snow_mm_per_h**1.38
    return float(db_per_km / DB_PER_NEPER / 1000)


def snow_shower(snow_mm_per_h: float, rng: np.random.Generator) -> Shower:
    """Visible flakes of a snowfall in mm/h water equivalent (Gunn and Marshall 1958)."""
    slope = 2.55 * snow_mm_per_h**-0.48
    concentration = 3800 * snow_mm_per_h**-0.87
    floor = np.exp(-slope * (MAX_MELTED_MM - MIN_MELTED_MM))
    melted_mm = MIN_MELTED_MM - np.log(rng.uniform(floor, 1, 512)) / slope
    return Shower(
        per_m3=concentration / slope * float(np.exp(-slope * MIN_MELTED_MM)),
        diameter_m=melted_mm * FLAKE_PER_MELTED * 1e-3,
        fall_m_per_s=np.full(512, FALL_M_PER_S),
        wind_m_per_s=(float(rng.normal(0, 1.5)), CAR_M_PER_S),
        exposure_s=EXPOSURE_S,
        opacity=0.95,
    )


def snow_cover(scene: OpticalScene, severity: float, rng: np.random.Generator) -> np.ndarray:
    """Snow cover (H, W) in [0, 1]: patchy, on surfaces that face up."""
    x_m, z_m = ground_coordinates(scene)
    noise = ground_noise(x_m, z_m, 36.0, rng.uniform(0, 256, 2))
    noise += (
        0.5 * ground_noise(x_m, z_m, 5.0, rng.uniform(0, 256, 2)) * (1 - smoothstep(z_m, 8, 30))
    )
    level = 2.2 - 4.4 * severity
    on_ground = scene.ground * smoothstep(noise, level - 0.6, level + 0.6)
    lumps = smooth_noise(rng, scene.shape, (24, 40), octaves=2)
    up = smoothstep(upward_facing(scene.depth_m, scene.intrinsics, scene.plane), 0.6, 0.9)
    tops = up * (1 - scene.ground) * smoothstep(lumps, level - 1.2, level + 0.4)
    tops *= (scene.depth_m < FAR_M) & (scene.height_m < 5)
    return np.clip(on_ground + 0.5 * tops, 0, 1) * np.float32(0.35 + 0.6 * severity)


def _lay_cover(
    light: np.ndarray, cover: np.ndarray, scene: OpticalScene, white: float
) -> np.ndarray:
    """Composite snow over linear light (H, W, 3), keeping some relief of the covered surface."""
    grey = luminance(light)
    relief = grey / (soft(grey, max(scene.shape) / 24, factor=4) + 1e-3)
    snow = np.clip(relief, 0.3, 2.0) ** np.float32(0.14) * np.float32(white)
    snow = cv2.merge([0.97 * snow, 0.99 * snow, 1.02 * snow])
    return cv2.blendLinear(snow, light, cover, 1 - cover)


def snow(
    scene: OpticalScene, snow_mm_per_h: float, severity: float, rng: np.random.Generator
) -> np.ndarray:
    """Render snowfall of a water equivalent in mm/h: linear light (H, W, 3)."""
    sky = grey_sky(scene, 0.62, rng)
    airlight = np.array([0.58, 0.6, 0.62], np.float32)
    light = under_grey_sky(scene, 0.3 + 0.2 * severity, 0.25 + 0.25 * severity, 0.95, sky)
    lying = snow_cover(scene, severity, rng)
    light = _lay_cover(light, lying, scene, 0.62)
    scene.leave_visible(1 - lying)
    beta = snow_extinction_per_m(snow_mm_per_h)
    density = np.clip(1 + 0.2 * smooth_noise(rng, scene.shape, (2, 3), octaves=2), 0.5, 1.5)
    t = refined(transmission(np.minimum(scene.range_m, 1500.0), beta, density), scene)
    light = koschmieder(light, airlight, t)
    scene.leave_visible(t)
    shower = snow_shower(snow_mm_per_h, rng)
    white = np.full_like(light, 0.76)
    for near_m, far_m in reversed(LAYERS_M):
        cover = layer_opacity(shower, scene, near_m, far_m, rng)
        light = cv2.blendLinear(white, light, cover, 1 - cover)
        scene.leave_visible(1 - cover)
    return add_fine_grain(light, shot=8e-5, read=1.2e-3, rng=rng)
