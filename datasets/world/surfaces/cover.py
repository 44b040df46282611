"""Weather cover: water and snow on surfaces, by material."""

from typing import NamedTuple

import numpy as np

from nightrain.datasets.world.scene.scene import Scene
from nightrain.datasets.world.shapes.points import Points
from nightrain.datasets.world.shapes.solids import Surface
from nightrain.datasets.world.surfaces import lying_snow as snow
from nightrain.datasets.world.surfaces import wet_ground as wet
from nightrain.datasets.world.surfaces.look import Look

_DRIVEN = (Surface.STREET, Surface.CROSS_STREET)
_PAVED = (*_DRIVEN, Surface.PAVEMENT, Surface.YARD)
_TIGHT = (  # non-porous: water runs off and does not darken them
    Surface.BODYWORK,
    Surface.GLASSHOUSE,
    Surface.GLASS,
    Surface.METAL,
    Surface.SIGN,
    Surface.PLATE,
    Surface.TYRE,
    Surface.HEAD_LAMP,
    Surface.TAIL_LAMP,
    Surface.STREET_LAMP,
    Surface.SIGNAL,
)


class Covered(NamedTuple):
    """Albedo (3, N) and mirror share (N,) under the cover, and the water on paved ground."""

    albedo: np.ndarray
    mirror: np.ndarray
    paved: np.ndarray  # (N,) bool
    water: wet.Water | None  # None in dry weather


def covered(look: Look, points: Points, surface: np.ndarray, scene: Scene) -> Covered:
    """Apply the weather's water and snow to points on surfaces (N,)."""
    weather = scene.weather
    albedo, mirror, paved, water = look.albedo, look.mirror, among(surface, _PAVED), None
    if weather.wetness > 0:
        water = wet.water_on(points, paved, among(surface, _TIGHT), weather)
        albedo = wet.darkened(albedo, water)
    if weather.snow_cover > 0:
        driven = among(surface, _DRIVEN)
        white_share, white = snow.snow_on(points, driven, scene.street, weather)
        albedo = albedo + (white - albedo) * white_share
        mirror = mirror * (1 - white_share)
        water = None if water is None else water.under(white_share)
    return Covered(albedo, mirror, paved, water)


def among(surface: np.ndarray, kinds: tuple[Surface, ...]) -> np.ndarray:
    """Whether surfaces (N,) are of the given kinds."""
    table = np.zeros(256, bool)
    table[list(kinds)] = True
    return table[surface]
