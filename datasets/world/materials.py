"""Which surface has which look."""

from collections.abc import Callable

import numpy as np

from datasets.world import bodies, facades
from datasets.world import ground as paving
from datasets.world.ground import Look
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
    Surface.BODYWORK: bodies.bodywork_look,
    Surface.GLASSHOUSE: bodies.glasshouse_look,
    Surface.TYRE: bodies.tyre_look,
    Surface.CARGO: bodies.cargo_look,
}


def look(points: Points, surface: np.ndarray, street: Street) -> Look:
    """Albedo (3, N) and mirror share (N,) of points whose surfaces (N,) may differ."""
    albedo = np.zeros((3, len(surface)), np.float32)
    mirror = np.zeros(len(surface), np.float32)
    for kind in np.unique(surface):
        index = np.flatnonzero(surface == kind)
        albedo[:, index], mirror[index] = _one(Surface(int(kind)), points.take(index), street)
    return albedo, mirror


def _one(surface: Surface, points: Points, street: Street) -> Look:
    if surface is Surface.STREET:
        return paving.street_look(points, street)
    if surface is Surface.PAVEMENT:
        return paving.pavement_look(points, street)
    return _LOOKS[surface](points)
