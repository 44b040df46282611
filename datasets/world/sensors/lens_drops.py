"""Drops on the lens: they stay for seconds and show a small, inverted, blurred image."""

from dataclasses import dataclass

import cv2
import numpy as np

from nightrain.datasets.world.scene.weather import Weather

STAYS_S = (2.0, 7.0)
WIDE = 0.13  # share of the image's width that a drop shows to either side
BLUR, RIM = 0.018, 0.0085  # blur inside a drop and at its rim, shares of the image's width
TYPICAL_RADIUS = 0.016  # share of the image's width


@dataclass(frozen=True, slots=True, kw_only=True)
class LensDrops:
    """Drops (N) on the lens; positions and radii as shares of the image width."""

    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    squeeze: np.ndarray  # height over width


def on_lens(weather: Weather, camera: int, t_s: float, aspect: float) -> LensDrops:
    """Drops on a camera's lens at time t; `aspect` is image height over width.

    A fixed number of places each get one drop after another, drawn from the weather's seed.
    """
    rng = np.random.default_rng([weather.seed, camera, 11])
    num = int(rng.poisson(weather.lens_drops)) if weather.lens_drops > 0 else 0
    drops = np.zeros((4, num))
    for k in range(num):
        stays_s, phase = rng.uniform(*STAYS_S), rng.uniform()
        turn = int(np.floor(t_s / stays_s + phase))
        own = np.random.default_rng([weather.seed, camera, k, turn + 1000])
        age_s = (t_s / stays_s + phase - turn) * stays_s
        radius = np.exp(own.normal(np.log(TYPICAL_RADIUS), 0.5))
        creep = 0.004 * age_s * radius / TYPICAL_RADIUS  # large ones run down
        drops[:, k] = own.uniform(), own.uniform() * aspect + creep, radius, own.uniform(0.9, 1.35)
    return LensDrops(x=drops[0], y=drops[1], radius=drops[2], squeeze=drops[3])


def seen_through(radiance: np.ndarray, drops: LensDrops) -> np.ndarray:
    """Image (H, W, 3) seen through the drops on the lens.

    A drop is far closer than the camera's focus, so its rim is soft and its content is blurred,
    more so for larger drops.
    """
    height, width = radiance.shape[:2]
    if not len(drops.x):
        return radiance
    v, u = np.mgrid[0:height, 0:width].astype(np.float32)
    from_u, from_v = u.copy(), v.copy()
    cover = np.zeros((height, width), np.float32)
    for x, y, r, squeeze in zip(drops.x, drops.y, drops.radius, drops.squeeze, strict=True):
        _refract(from_u, from_v, cover, (x * width, y * width), r * width, squeeze)
    small = cv2.resize(radiance, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), BLUR * width / 4)
    shown = cv2.remap(
        small, from_u / 4, from_v / 4, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    soft = cv2.GaussianBlur(cover, (0, 0), RIM * width)[..., None]
    return radiance + (shown - radiance) * soft


def _refract(
    from_u: np.ndarray,
    from_v: np.ndarray,
    cover: np.ndarray,
    place: tuple[float, float],
    radius_px: float,
    squeeze: float,
) -> None:
    """Refract the pixels behind one drop: an inverted wide-angle view, as through a small lens."""
    height, width = cover.shape
    x0, x1 = max(int(place[0] - radius_px), 0), min(int(place[0] + radius_px) + 2, width)
    tall = radius_px * squeeze
    y0, y1 = max(int(place[1] - tall), 0), min(int(place[1] + tall) + 2, height)
    if x0 >= x1 or y0 >= y1:
        return
    dx = (np.arange(x0, x1)[None] - place[0]) / radius_px
    dy = (np.arange(y0, y1)[:, None] - place[1]) / tall
    square = dx * dx + dy * dy
    inside = square < 1
    patch = (slice(y0, y1), slice(x0, x1))
    from_u[patch] = np.where(inside, place[0] - dx * WIDE * width, from_u[patch])
    from_v[patch] = np.where(inside, place[1] - dy * WIDE * width, from_v[patch])
    cover[patch] = np.where(inside, np.float32(0.9), cover[patch])
