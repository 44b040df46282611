"""Drops and wet film on the lens: out-of-focus blobs that replace the scene behind them.

The glass is a few centimetres before the lens, so every pixel looks through a disc of it as wide as
the aperture. A drop's edge is therefore as soft as that disc, and a drop that is smaller than it
never hides a pixel entirely. A drop is a lens of a short focal length: it shows an inverted
wide-angle view, averaged over the disc. Sizes are shares of the image's width, for a lens as wide
as that of nuScenes' front camera (f = 0.79 widths, 5.5 mm at f/1.8) and glass at 20 mm.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from nightrain.datasets.world.scene.weather import Weather
from nightrain.datasets.world.shapes.noise import fractal

STAYS_S = (3.0, 12.0)
SHARE_PER_MM = 0.79 / 20.0  # of a length on the glass
APERTURE_MM = 3.0
TYPICAL_MM, SPREAD, LARGEST_MM = 2.7, 0.45, 7.0  # diameters: log-normal; larger ones run down
CLEAR_SHARE = 0.96  # of the light passes a drop
WIDE = 0.30  # share of the image's width that a drop shows to either side
DROP_BLUR, EDGE_BLUR = 0.06, 0.016  # by a drop's aberrations: of the view in it, and behind it
SMALL_PX = 112  # drops and film are smooth: images of this width suffice for them
SMEAR, VEIL = 0.005, 0.09  # blurs by a film of water and by fine droplets
SMEARED = 0.6  # share of the film that smears; the rest veils
_FILM_OCTAVES = ((0.6, 0.5), (0.25, 0.35), (0.1, 0.15))


@dataclass(frozen=True, slots=True, kw_only=True)
class LensDrops:
    """Drops (N) on the lens; positions and radii as shares of the image width."""

    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    squeeze: np.ndarray  # height over width
    lobe: np.ndarray  # direction in which the outline bulges, rad


def on_lens(weather: Weather, camera: int, t_s: float, aspect: float) -> LensDrops:
    """Drops on a camera's lens at time t; `aspect` is image height over width.

    A fixed number of places each get one drop after another, drawn from the weather's seed.
    """
    rng = np.random.default_rng([weather.seed, camera, 11])
    num = int(rng.poisson(weather.lens_drops)) if weather.lens_drops > 0 else 0
    drops = np.zeros((5, num))
    for k in range(num):
        stays_s, phase = rng.uniform(*STAYS_S), rng.uniform()
        turn = int(np.floor(t_s / stays_s + phase))
        own = np.random.default_rng([weather.seed, camera, k, turn + 1000])
        age_s = (t_s / stays_s + phase - turn) * stays_s
        diameter_mm = min(np.exp(own.normal(np.log(TYPICAL_MM), SPREAD)), LARGEST_MM)
        creep = 0.004 * age_s * (diameter_mm / TYPICAL_MM) ** 2  # large ones run down
        x, y = own.uniform(-0.03, 1.03), own.uniform(-0.05, 1.05) * aspect + creep
        drops[:, k] = (
            x,
            y,
            diameter_mm / 2 * SHARE_PER_MM,
            own.uniform(0.85, 1.7),
            own.uniform(0, 6),
        )
    x, y, radius, squeeze, lobe = drops
    return LensDrops(x=x, y=y, radius=radius, squeeze=squeeze, lobe=lobe)


def seen_through(radiance: np.ndarray, drops: LensDrops) -> np.ndarray:
    """Image (H, W, 3) seen through the drops on the lens."""
    height, width = radiance.shape[:2]
    if not len(drops.x):
        return radiance
    small = _small(radiance)
    high, wide = small.shape[:2]
    v, u = np.mgrid[0:high, 0:wide].astype(np.float32)
    from_u, from_v, cover = u.copy(), v.copy(), np.zeros((high, wide), np.float32)
    for k in range(len(drops.x)):
        _refract(from_u, from_v, cover, drops, k)
    content = cv2.GaussianBlur(small, (0, 0), DROP_BLUR * wide)
    content = cv2.remap(content, from_u, from_v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    disc = _disc(APERTURE_MM / 2 * SHARE_PER_MM * wide)
    hidden = cv2.filter2D(cover, -1, disc, borderType=cv2.BORDER_REPLICATE)
    shown = cv2.filter2D(content * cover[..., None], -1, disc, borderType=cv2.BORDER_REPLICATE)
    hidden, shown = (cv2.GaussianBlur(a, (0, 0), EDGE_BLUR * wide) for a in (hidden, shown))
    hidden, shown = (cv2.resize(a, (width, height)) for a in (hidden, shown))
    return radiance * (1 - hidden[..., None]) + CLEAR_SHARE * shown


def behind_film(radiance: np.ndarray, weather: Weather, camera: int) -> np.ndarray:
    """Image (H, W, 3) seen through the water film and the fine droplets on the lens.

    The film smears, and droplets far smaller than the aperture turn a share of the light into a
    veil; both vary slowly over the glass.
    """
    if weather.lens_film <= 0:
        return radiance
    height, width = radiance.shape[:2]
    small = _small(radiance)
    y, x = np.mgrid[0 : small.shape[0], 0 : small.shape[1]].astype(np.float32) / small.shape[1]
    grid = np.full(x.size, 0.01, np.float32)
    patches = fractal(x.ravel(), y.ravel(), grid, _FILM_OCTAVES, (weather.seed + camera) % 8191)
    share = np.clip(weather.lens_film * (1 + 0.9 * patches), 0, 0.9).reshape(x.shape)
    share = cv2.resize(share.astype(np.float32), (width, height))[..., None]
    veil = cv2.resize(cv2.GaussianBlur(small, (0, 0), VEIL * small.shape[1]), (width, height))
    smear = cv2.GaussianBlur(radiance, (0, 0), SMEAR * width)
    return radiance + share * (SMEARED * smear + (1 - SMEARED) * veil - radiance)


def _small(radiance: np.ndarray) -> np.ndarray:
    height, width = radiance.shape[:2]
    size = (min(SMALL_PX, width), max(round(height * min(SMALL_PX / width, 1.0)), 1))
    return cv2.resize(radiance, size, interpolation=cv2.INTER_AREA)


def _disc(radius_px: float) -> np.ndarray:
    """Kernel of a disc with a soft edge; its sum is 1."""
    half = int(np.ceil(radius_px + 0.5))
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    kernel = np.clip(radius_px + 0.5 - np.hypot(x, y), 0, 1)
    return (kernel / kernel.sum()).astype(np.float32)


def _refract(
    from_u: np.ndarray, from_v: np.ndarray, cover: np.ndarray, drops: LensDrops, k: int
) -> None:
    """Refract the pixels behind drop k: an inverted wide-angle view, as through a small lens."""
    height, width = cover.shape
    x, y, radius = (a[k] * width for a in (drops.x, drops.y, drops.radius))
    tall = radius * drops.squeeze[k]
    x0, x1 = max(int(x - 1.4 * radius), 0), min(int(x + 1.4 * radius) + 2, width)
    y0, y1 = max(int(y - 1.4 * tall), 0), min(int(y + 1.4 * tall) + 2, height)
    if x0 >= x1 or y0 >= y1:
        return
    dx = (np.arange(x0, x1)[None] - x) / radius
    dy = (np.arange(y0, y1)[:, None] - y) / tall
    angle = np.arctan2(dy, dx) - drops.lobe[k]
    outline = 1 + 0.18 * np.cos(2 * angle) + 0.10 * np.cos(3 * angle)
    inside = np.hypot(dx, dy) < outline
    patch = (slice(y0, y1), slice(x0, x1))
    from_u[patch] = np.where(inside, x - dx * WIDE * width, from_u[patch])
    from_v[patch] = np.where(inside, y - dy * WIDE * width, from_v[patch])
    cover[patch] = np.where(inside, np.float32(1.0), cover[patch])
