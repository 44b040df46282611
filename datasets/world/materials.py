"""Which surface has which look."""

from collections.abc import Callable

import numpy as np

from datasets.world import bodies, facades
from datasets.world import ground as paving
from datasets.world.look import Look
from datasets.world.points import Points
from datasets.world.solids import Surface
from datasets.world.street import Street

_LOOKS: dict[Surface, Callable[[Points], Look]] = {
    Surface.FACADE: facades.facade_look,
    Surface.ROOF: facades.roof_look,
    Surface.BARK: bodies.bark_look,
    Surface.LEAVES: bodies.leaves_look,
    Surface.HEDGE: bodies.hedge_look,
    Surface.METAL: bodies.metal_look,
    Surface.SIGN: bodies.sign_look,
    Surface.LAWN: paving.lawn_look,
    Surface.BODYWORK: bodies.bodywork_look,
    Surface.GLASSHOUSE: bodies.glasshouse_look,
    Surface.TYRE: bodies.tyre_look,
    Surface.CARGO: bodies.cargo_look,
}


def look(points: Points, surface: np.ndarray, street: Street) -> Look:
    """The look of points (N,) whose surfaces (N,) may differ."""
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
    if surface is Surface.PAVEMENT:
        return paving.pavement_look(points, street)
    return _LOOKS[surface](points)
