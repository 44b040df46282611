"""Bridges over the street, and railings where the street crosses a river."""

from collections.abc import Iterator

import numpy as np

from nightrain.datasets.world.objects.gardens import fence
from nightrain.datasets.world.shapes.mesh import box
from nightrain.datasets.world.shapes.solids import Shape, Solid, Surface
from nightrain.datasets.world.street.placing import Colour, block, body, chance
from nightrain.datasets.world.street.street import Street

CLEARANCE_M = 4.8
CONCRETE: Colour = (0.36, 0.35, 0.33)
STEEL: Colour = (0.10, 0.14, 0.12)


def cleared(solids: list[Solid], street: Street, x_m: float, half_x_m: float) -> list[Solid]:
    """Drop the solids that are in the way of a bridge at x; the ground stays."""
    x, _ = street.place(x_m, 0.0)
    kept = []
    for solid in solids:
        ground = solid.shape is Shape.MESH and solid.centre_m == (0.0, 0.0, 0.0)
        reach = solid.half_m[0] if solid.shape is Shape.BLOCK else 3.5
        if ground or abs(solid.centre_m[0] - x) > half_x_m + 0.5 + reach:
            kept.append(solid)
    return kept


def overpass(
    rng: np.random.Generator, street: Street, x_m: float, half_x: float
) -> Iterator[Solid]:
    """Road or railway bridge over the street at x, on abutments at both kerbs."""
    railway = chance(rng, 0.5)
    span = street.back_m + 0.4
    deep = 0.55 if not railway else 0.75
    colour = STEEL if railway else CONCRETE
    deck = (half_x, 75.0, deep)
    yield block(street, Surface.CONCRETE, x_m, 0.0, deck, CLEARANCE_M, colour=colour, label=2)
    for side in (-1, 1):
        wall = (half_x, 30.0, CLEARANCE_M / 2 + 1.0)
        yield block(street, Surface.CONCRETE, x_m, side * (span + 30.0), wall, -2.1,
                    colour=CONCRETE, label=2)  # fmt: skip
        parapet = x_m + side * (half_x - 0.15)
        top = CLEARANCE_M + 2 * deep
        half = (0.15, 75.0, 0.5)
        yield block(street, Surface.CONCRETE, parapet, 0.0, half, top, colour=colour, label=2)
    beams = [box((0.0, v, CLEARANCE_M - 0.12), (half_x - 0.2, 0.25, 0.14)) for v in
             np.arange(-span + 1, span, 2.4)]  # fmt: skip
    yield body(street, Surface.CONCRETE, x_m, 0.0, beams, colour=colour, label=2)
    if half_x > 5 and street.num_lanes > 1:
        for u in (-0.6 * half_x, 0.6 * half_x):
            for side in (-1, 1):
                pier = (0.35, 0.35, CLEARANCE_M / 2)
                at = side * (street.half_road_m + 0.6)
                yield block(street, Surface.CONCRETE, x_m + u, at, pier, 0.0, colour=CONCRETE,
                            label=2)  # fmt: skip


def railings(street: Street, start_x_m: float, end_x_m: float) -> Iterator[Solid]:
    """Parapets of a river bridge at the backs of both pavements."""
    for side in (-1, 1):
        d = side * (street.back_m - 0.15)
        yield from fence(street, start_x_m, end_x_m, d, 1.15, 0.14, STEEL)
        for x in (start_x_m, end_x_m):
            yield block(street, Surface.CONCRETE, x, d, (0.45, 0.45, 0.9), colour=CONCRETE, label=3)
