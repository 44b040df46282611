"""Lamp discs: the bright discs of lamps, drawn with their full light although they are small."""

import numpy as np

from nightrain.datasets.world.render.atmosphere import transmission
from nightrain.datasets.world.scene.weather import Weather
from nightrain.datasets.world.shapes.lamps import Lamps
from nightrain.datasets.world.shapes.raycast import Caster

HOUSING_M = 0.35  # solids this close to a lamp do not hide it
SMALLEST_PX = 0.55  # radius of the smallest disc that is drawn
REACH = 2.2  # radii at which a disc ends


def draw(
    picture: np.ndarray,
    lamps: Lamps,
    weather: Weather,
    caster: Caster,
    eye_m: np.ndarray,
    pixel_of: np.ndarray,
    path_px: np.ndarray,
    f_px: float,
) -> None:
    """Add the discs of lamps to an image (H, W, 3) in cd/m2.

    `pixel_of` (2, L) is NaN behind the camera; `path_px` (2, L) is the motion of each during the
    exposure. A disc gives the camera I / d^2 lux, independent of its size.
    """
    way = (lamps.place_m - eye_m).T  # (3, L)
    distance = np.sqrt((way * way).sum(0))
    index = np.flatnonzero(_inside(picture.shape, pixel_of) & (distance > 1.0))
    if not len(index):
        return
    hidden = caster.blocked(eye_m, way[:, index], 1 - HOUSING_M / distance[index])
    index = index[~hidden]
    if not len(index):
        return
    candela = lamps.intensity_towards(index, -way[:, index] / distance[index])
    lux = candela / distance[index] ** 2 * transmission(weather, distance[index])
    radius = np.maximum(lamps.radius_m[index] * f_px / distance[index], SMALLEST_PX)
    for k, light, r in zip(index, lux * f_px**2, radius, strict=True):
        taps = max(1, int(np.ceil(np.hypot(*path_px[:, k]) / 0.7)))
        for share in (np.arange(taps) + 0.5) / taps - 0.5:
            spot = pixel_of[:, k] + share * path_px[:, k]
            _splat(picture, spot, float(r), light / taps * lamps.colour[k])


def _inside(shape: tuple[int, ...], pixel: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return (
            (pixel[0] > -20)
            & (pixel[1] > -20)
            & (pixel[0] < shape[1] + 20)
            & (pixel[1] < shape[0] + 20)
        )


def _splat(picture: np.ndarray, spot: np.ndarray, radius: float, light: np.ndarray) -> None:
    """Add a soft disc around a pixel; it sums to `light` (3,) unless it is cut by the border."""
    low = np.floor(spot - REACH * radius).astype(int)
    high = np.ceil(spot + REACH * radius).astype(int) + 1
    x, y = np.arange(low[0], high[0]), np.arange(low[1], high[1])
    square = (x[None] - spot[0]) ** 2 + (y[:, None] - spot[1]) ** 2
    weight = np.exp(-((square / (radius * radius)) ** 2) * 0.7)
    weight /= max(weight.sum(), 1e-9)
    height, width = picture.shape[:2]
    x0, x1 = np.clip((low[0], high[0]), 0, width)
    y0, y1 = np.clip((low[1], high[1]), 0, height)
    inside = weight[y0 - low[1] : y1 - low[1], x0 - low[0] : x1 - low[0]]
    if inside.size:
        picture[y0:y1, x0:x1] += (inside[..., None] * light).astype(np.float32)
