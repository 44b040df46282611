"""Semantic classes of solids: Cityscapes train ids (Cordts et al. 2016)."""

import numpy as np

from nightrain.datasets.world.shapes.solids import Solids, Surface

SKY, VOID = 10, 255
_CLASS = {  # classes of solids without their own label
    Surface.STREET: 0,
    Surface.CROSS_STREET: 0,
    Surface.PAVEMENT: 1,
    Surface.YARD: 1,
    Surface.FACADE: 2,
    Surface.ROOF: 2,
    Surface.CONCRETE: 2,
    Surface.BARK: 8,
    Surface.LEAVES: 8,
    Surface.HEDGE: 8,
    Surface.METAL: 5,
    Surface.STREET_LAMP: 5,
    Surface.SIGNAL: 6,
    Surface.SIGN: 7,
    Surface.LAWN: 9,
    Surface.BODYWORK: 13,
    Surface.GLASSHOUSE: 13,
    Surface.TYRE: 13,
    Surface.HEAD_LAMP: 13,
    Surface.TAIL_LAMP: 13,
    Surface.CARGO: 14,
}
_TABLE = np.full(256, VOID, np.uint8)
_TABLE[list(_CLASS)] = list(_CLASS.values())


def classes(solids: Solids, row: np.ndarray) -> np.ndarray:
    """Train ids (...) uint8 of the solids at rows (...), where -1 is the sky."""
    label = np.where(solids.label >= 0, solids.label, _TABLE[solids.surface]).astype(np.uint8)
    return np.where(row < 0, np.uint8(SKY), label[row])
