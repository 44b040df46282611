"""Table of surfaces and their materials."""

from collections.abc import Callable
from functools import partial

import numpy as np

from nightrain.datasets.world.shapes.points import Points
from nightrain.datasets.world.shapes.solids import Surface
from nightrain.datasets.world.street.street import Street
from nightrain.datasets.world.surfaces import bodies, facades, plants, stuff
from nightrain.datasets.world.surfaces import ground as paving
from nightrain.datasets.world.surfaces.look import Look

_LOOKS: dict[Surface, Callable[[Points], Look]] = {
    Surface.FACADE: facades.facade_look,
    Surface.ROOF: facades.roof_look,
    Surface.BARK: plants.bark_look,
    Surface.LEAVES: plants.leaves_look,
    Surface.HEDGE: plants.hedge_look,
    Surface.METAL: stuff.metal_look,
    Surface.SIGN: stuff.sign_look,
    Surface.CONCRETE: stuff.concrete_look,
    Surface.CLOTH: stuff.cloth_look,
    Surface.SKIN: stuff.skin_look,
    Surface.GLASS: stuff.pane_look,
    Surface.POSTER: stuff.poster_look,
    Surface.WOOD: stuff.wood_look,
    Surface.WATER: stuff.water_look,
    Surface.LAWN: paving.lawn_look,
    Surface.YARD: paving.yard_look,
    Surface.BODYWORK: bodies.bodywork_look,
    Surface.GLASSHOUSE: bodies.glasshouse_look,
    Surface.TYRE: bodies.tyre_look,
    Surface.CARGO: bodies.cargo_look,
    Surface.PLATE: bodies.plate_look,
    Surface.HEAD_LAMP: partial(bodies.lamp_look, 1e5),
    Surface.TAIL_LAMP: partial(bodies.lamp_look, 3e3),
    Surface.STREET_LAMP: partial(bodies.lamp_look, 4e4),
    Surface.SIGNAL: partial(bodies.lamp_look, 5e3),
}


def look(points: Points, surface: np.ndarray, street: Street) -> Look:
    """Look of points (N,) on surfaces (N,) of any kinds."""
    albedo = np.zeros((3, len(surface)), np.float32)
    mirror = np.zeros(len(surface), np.float32)
    emission = np.zeros((3, len(surface)), np.float32)
    for kind in np.unique(surface):
        index = np.flatnonzero(surface == kind)
        one = _one(Surface(int(kind)), points.take(index), street)
        albedo[:, index], mirror[index] = one.albedo, one.mirror
        if one.emission_cd_m2 is not None:
            emission[:, index] = one.emission_cd_m2
    return Look(albedo, mirror, emission)


def _one(surface: Surface, points: Points, street: Street) -> Look:
    if surface is Surface.STREET:
        return paving.street_look(points, street)
    if surface is Surface.CROSS_STREET:
        return paving.street_look(points, street.cross or street)
    if surface is Surface.PAVEMENT:
        return paving.pavement_look(points, street)
    return _LOOKS[surface](points)
