"""Falling drops and flakes: each is a streak as long as the exposure."""

from dataclasses import dataclass

import numpy as np

from nightrain.datasets.world.render import sky
from nightrain.datasets.world.scene.weather import Weather
from nightrain.datasets.world.shapes.lamps import Lamps
from nightrain.datasets.world.shapes.pinhole import View

# Depth shells: from, to (metres), and the factor on the smallest particle that a camera resolves.
_SHELLS = ((0.25, 2.2, 1.0), (2.2, 7.0, 2.6))
APERTURE_M = 0.003  # 5.5 mm at f/1.8: blurs a drop near the lens
MOST = 20_000  # streaks in an image
FAINTEST = 0.004  # smallest cover of a pixel that is drawn
TAP_PX = 0.8
MIN_RAIN_MM, MIN_SNOW_MM = 0.9, 0.5  # smaller ones count as haze
DROP_SHOWS = (
    0.85  # share of a hemisphere's light: a drop is a lens of 165 degrees (Garg, Nayar 2007)
)
SCATTERED = 0.12  # luminance of a drop per lux of lamp light, 1/sr; slightly above 1 / 4 pi


@dataclass(frozen=True, slots=True, kw_only=True)
class Particles:
    """Drops or flakes (N) in front of a camera, in its coordinates."""

    place_m: np.ndarray  # (3, N)
    velocity_mps: np.ndarray  # (3, N), relative to the camera
    diameter_m: np.ndarray  # (N,)


def draw(
    rng: np.random.Generator, weather: Weather, view: View, eye_velocity_mps: np.ndarray
) -> Particles:
    """Draw new particles for an image: those that the camera resolves, far ones only if large."""
    shells = [_shell(rng, weather, view, *shell) for shell in _SHELLS]
    place_m = np.concatenate([s[0] for s in shells], axis=1)
    melted_mm = np.concatenate([s[1] for s in shells])
    num, snow = len(melted_mm), weather.snow_mm_per_h > 0
    fall = 1.0 + 0.15 * melted_mm if snow else 9.65 - 10.3 * np.exp(-0.6 * melted_mm)
    world = rng.standard_normal((3, num)) * (0.35 if snow else 0.15)
    world += np.array([[weather.wind_mps[0]], [weather.wind_mps[1]], [0.0]])
    world[2] -= fall
    R = view.T_world_camera[:3, :3]
    return Particles(
        place_m=place_m,
        velocity_mps=R.T @ (world - eye_velocity_mps[:, None]),
        diameter_m=1e-3 * (flake_mm(melted_mm) if snow else melted_mm),
    )


def _shell(
    rng: np.random.Generator,
    weather: Weather,
    view: View,
    near_m: float,
    far_m: float,
    times_smallest: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Positions (3, N), m, and melted diameters (N,), mm, between two depths."""
    f_px, (width, height) = view.intrinsics[0, 0], view.size
    smallest_mm = times_smallest * (MIN_SNOW_MM if weather.snow_mm_per_h > 0 else MIN_RAIN_MM)
    slope, per_m3 = number_per_m3(weather, smallest_mm)
    across = (1.3 * width / f_px) * (1.5 * height / f_px)  # frustum with a margin
    num = min(int(rng.poisson(per_m3 * across * (far_m**3 - near_m**3) / 3)), MOST)
    z = np.cbrt(rng.uniform(near_m**3, far_m**3, num))
    u = (rng.uniform(-0.15, 1.15, num) * width - view.intrinsics[0, 2]) / f_px
    v = (rng.uniform(-0.25, 1.25, num) * height - view.intrinsics[1, 2]) / f_px
    melted_mm = np.minimum(smallest_mm + rng.exponential(1 / slope, num), 6.0)
    return np.stack([u * z, v * z, z]), melted_mm


def number_per_m3(weather: Weather, smallest_mm: float) -> tuple[float, float]:
    """Slope in 1/mm of the size distribution, and number per m3 above a size in mm.

    Marshall and Palmer 1948 for rain, Gunn and Marshall 1958 for snow (melted diameters).
    """
    if weather.snow_mm_per_h > 0:
        rate = weather.snow_mm_per_h
        slope, intercept = 2.55 * rate**-0.48, 3800.0 * rate**-0.87
    else:
        slope, intercept = 4.1 * weather.rain_mm_per_h**-0.21, 8000.0
    return slope, float(intercept / slope * np.exp(-slope * smallest_mm))


def flake_mm(melted_mm: np.ndarray) -> np.ndarray:
    """Diameter of flakes of a melted diameter: 0.178 D^-0.922 g/cm3 (Brandes et al. 2007)."""
    return (melted_mm**3 / 0.178) ** (1 / (3 - 0.922))


def fall_through(
    picture: np.ndarray,
    depth_m: np.ndarray,
    particles: Particles,
    weather: Weather,
    lamps: Lamps,
    view: View,
    time_s: float,
) -> None:
    """Draw the streaks of particles into an image (H, W, 3) in cd/m2 with depths (H, W)."""
    f_px = view.intrinsics[0, 0]
    centre = view.intrinsics[:2, 2:]
    ends = [particles.place_m + s * time_s / 2 * particles.velocity_mps for s in (-1, 1)]
    ahead = (ends[0][2] > 0.15) & (ends[1][2] > 0.15)
    a, b = (f_px * e[:2, ahead] / e[2, ahead] + centre for e in ends)  # (2, N)
    z = particles.place_m[2, ahead]
    size_px = f_px * particles.diameter_m[ahead] / z
    width_px = np.hypot(size_px, f_px * APERTURE_M / z)  # out of focus near the lens
    drawn_px = np.maximum(width_px, 1.0)
    length_px = np.hypot(*(b - a))
    cover = np.pi / 4 * size_px**2 / ((length_px + drawn_px) * drawn_px)  # of each pixel of it
    shown = np.flatnonzero(cover > FAINTEST)
    colour = _shown(particles.place_m[:, ahead][:, shown], weather, lamps, view)
    taps = np.ceil(length_px[shown] / TAP_PX).astype(int) + 1
    k = np.repeat(np.arange(len(shown)), taps)  # (taps of all,)
    along = (np.arange(len(k)) - np.repeat(np.cumsum(taps) - taps, taps)) / np.maximum(taps - 1, 1)[
        k
    ]
    spot = a[:, shown][:, k] + along * (b - a)[:, shown][:, k]
    # each tap covers an equal share of the streak's area, drawn_px wide
    area = (cover * (length_px + drawn_px) * drawn_px)[shown][k] / taps[k]
    dabs = _Dabs(spot_px=spot, width_px=drawn_px[shown][k], area_px=area, depth_m=z[shown][k])
    _blend(picture, depth_m, dabs, colour[:, k])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dabs:
    """Dabs: round spots (N) that make up streaks."""

    spot_px: np.ndarray  # (2, N)
    width_px: np.ndarray
    area_px: np.ndarray  # total area that a dab hides
    depth_m: np.ndarray


def _blend(picture: np.ndarray, depth_m: np.ndarray, dabs: _Dabs, colour: np.ndarray) -> None:
    """Blend dabs of colours (3, N) over farther pixels, one after the other where they overlap."""
    height, width = depth_m.shape
    hidden, tinted = np.zeros(height * width), np.zeros((3, height * width))
    half = np.ceil(dabs.width_px / 2).astype(int)
    for h in np.unique(half):
        some = np.flatnonzero(half == h)
        x0, y0 = np.rint(dabs.spot_px[:, some]).astype(int)
        sigma2 = (dabs.width_px[some] / 2.4) ** 2
        dx, dy = np.meshgrid(np.arange(-h, h + 1), np.arange(-h, h + 1))
        x, y = x0[:, None] + dx.ravel(), y0[:, None] + dy.ravel()  # (n, kernel)
        gap2 = (x - dabs.spot_px[0, some, None]) ** 2 + (y - dabs.spot_px[1, some, None]) ** 2
        weight = np.exp(-gap2 / (2 * sigma2[:, None]))
        weight *= dabs.area_px[some, None] / np.maximum(weight.sum(1, keepdims=True), 1e-6)
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        pixel = np.where(inside, y * width + x, 0)
        far = depth_m.ravel()[pixel]
        weight *= inside & ((far == 0) | (far > dabs.depth_m[some, None]))
        hidden += np.bincount(pixel.ravel(), weight.ravel(), height * width)
        for c in range(3):
            tint = weight * colour[c, some, None]
            tinted[c] += np.bincount(pixel.ravel(), tint.ravel(), height * width)
    left = np.exp(-hidden)
    mean = tinted / np.maximum(hidden, 1e-9)
    flat = picture.reshape(-1, 3)
    flat += ((1 - left) * (mean - flat.T)).T.astype(np.float32)


def _shown(place_m: np.ndarray, weather: Weather, lamps: Lamps, view: View) -> np.ndarray:
    """Luminance (3, N) of drops lit by the sky, the street and lamps."""
    up, down = sky.skylight(weather)
    white = 0.5 * (up + down) / np.pi
    shown = np.repeat(
        (0.9 if weather.snow_mm_per_h > 0 else DROP_SHOWS) * white, place_m.shape[1], 1
    )
    if weather.is_dark and len(lamps):
        world = view.T_world_camera[:3, :3] @ place_m + view.eye_m[:, None]  # (3, N)
        away = world[:, :, None] - lamps.place_m.T[:, None].astype(np.float64)  # (3, N, L)
        square = np.maximum((away * away).sum(0), 0.05)
        index = np.broadcast_to(np.arange(len(lamps)), square.shape)
        lux = lamps.intensity_towards(index, away / np.sqrt(square)) / square
        shown = shown + SCATTERED * (lux @ lamps.colour).T
    return shown.astype(np.float32)
