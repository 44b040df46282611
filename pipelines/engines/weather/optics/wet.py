"""Wet ground: dark asphalt, reflecting film, puddles (docs/papers/weather.md, eq. 12 and 13)."""

import cv2
import numpy as np

from nightrain.pipelines.engines.weather.optics.filters import (
    enlarged,
    ground_noise,
    smoothstep,
    weighted_sum,
)
from nightrain.pipelines.engines.weather.optics.ground_mirror import Mirror
from nightrain.pipelines.engines.weather.optics.optical_scene import OpticalScene
from nightrain.pipelines.engines.weather.optics.photometry import luminance

FACTOR = 2  # puddles and reflectance are computed at half the resolution
WATER_INDEX = 1.33
WET_ALBEDO = 0.55  # share of the dry albedo (mechanism: Lekner and Dorf 1988)
FILM_SHARE = 0.6  # share of the mirror's strength on a thin film with protruding stones


def fresnel_reflectance(cos_incidence: np.ndarray) -> np.ndarray:
    """Unpolarised reflectance of water for cosines in [0, 1]; Fresnel's equations."""
    c = np.clip(cos_incidence, 0, 1)
    g = np.sqrt(np.float32(WATER_INDEX**2 - 1) + c * c)
    s = ((c - g) / (c + g)) ** 2
    ratio = (c * (g + c) - 1) / np.maximum(c * (g - c) + 1, 1e-6)
    return 0.5 * s * (1 + ratio * ratio)


def ground_coordinates(scene: OpticalScene, stride: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Ground points of every `stride`-th pixel: metres across and ahead, both (h, w)."""
    z = 1 / np.maximum(scene.plane_inverse[::stride, ::stride], np.float32(1 / 200))
    return scene.rays_x[:, ::stride] * z, z


def puddles(scene: OpticalScene, wetness: float, rng: np.random.Generator) -> np.ndarray:
    """Standing water, share (h, w) in [0, 1] at 1 / FACTOR: patches of metres, even far away."""
    x_m, z_m = ground_coordinates(scene, FACTOR)
    noise = ground_noise(x_m, z_m * np.float32(0.7), 24.0, rng.uniform(0, 256, 2))
    patches = smoothstep(noise, 1.5 - 1.6 * wetness, 2.1 - 1.6 * wetness)
    ground = scene.ground[::FACTOR, ::FACTOR] > 0.5
    mean = float(patches[ground].mean()) if ground.any() else 0.0
    far = smoothstep(z_m, 20.0, 55.0)
    return patches + (np.float32(mean) - patches) * far


def wet_ground(
    light: np.ndarray,
    mirror: Mirror,
    scene: OpticalScene,
    wetness: float,
    rng: np.random.Generator,
    albedo: float = WET_ALBEDO,
) -> np.ndarray:
    """Wet the ground of linear light (H, W, 3): darken its albedo and add reflections.

    Of the ground's contrast, its share of the light stays visible.
    """
    water = puddles(scene, wetness, rng)
    cos_view = scene.plane.height_m / np.maximum(scene.range_m[::FACTOR, ::FACTOR], 0.1)
    film = fresnel_reflectance(cos_view) * (FILM_SHARE + (1 - FILM_SHARE) * water)
    reflectance = enlarged(film * np.float32(0.5 + 0.5 * wetness), scene.shape)
    reflectance *= scene.ground
    kept = 1 - scene.ground * np.float32((1 - albedo) * wetness)
    kept *= 1 - reflectance
    reflection = enlarged(_reflection(mirror, water), scene.shape)
    own, mirrored = luminance(light) * kept, luminance(reflection) * reflectance
    scene.leave_visible(own / (own + mirrored + np.float32(1e-6)))
    return weighted_sum(light, kept, reflection, reflectance)


def _reflection(mirror: Mirror, water: np.ndarray) -> np.ndarray:
    """Reflection (h, w, 3): sharp in standing water and where objects touch the ground.

    A rough surface spreads a reflected point over an angle, so longer paths give wider spots.
    """
    height, width = mirror.path_m.shape
    calm = cv2.resize(water, (width, height), interpolation=cv2.INTER_AREA)
    rough = smoothstep(mirror.path_m, 0.3, 5.0) * (1 - 0.8 * calm)
    return cv2.blendLinear(mirror.rough, mirror.sharp, rough, 1 - rough)
