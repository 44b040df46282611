"""Plants and fences along a street: rows of trees, front gardens, parks, yards."""

from collections.abc import Iterator
from functools import cache

import numpy as np

from nightrain.datasets.world.objects.buildings import WALLS
from nightrain.datasets.world.objects.trees import Grove
from nightrain.datasets.world.shapes.mesh import Mesh, box, join_meshes
from nightrain.datasets.world.shapes.solids import Solid, Surface
from nightrain.datasets.world.street.placing import ZINC, Colour, block, body, chance, one_of
from nightrain.datasets.world.street.street import Street

WHITE: Colour = (0.62, 0.61, 0.58)
BROWN: Colour = (0.20, 0.13, 0.08)
BLACK: Colour = (0.03, 0.035, 0.035)
FENCE, WALL = 4, 3  # Cityscapes' train ids
NEAR_M = 28.0  # trees farther from the road than this have fewer leaves
PANEL_M = 2.4


def draw(rng: np.random.Generator, street: Street, grove: Grove) -> Iterator[Solid]:
    """Draw trees, hedges and fences on both sides of a street."""
    for side, kind in zip((-1, 1), street.sides, strict=True):
        rows = {"shops": 0.55, "houses": 0.7, "park": 0.6, "yards": 0.35}[kind]
        if street.pavement_m > 2.4 and chance(rng, rows):
            yield from _avenue(rng, street, side, grove)
        for low, high in street.stretches(2.0, built=True):
            if kind == "houses":
                yield from _front_gardens(rng, street, side, grove, low, high)
            elif kind == "park":
                yield from _park(rng, street, side, grove, low, high)
            elif kind == "yards":
                yield from _yards(rng, street, side, grove, low, high)


def _avenue(rng: np.random.Generator, street: Street, side: int, grove: Grove) -> Iterator[Solid]:
    """Row of trees of one kind along the pavement."""
    step, density = float(rng.uniform(9, 17)), float(rng.uniform(0.6, 0.95))
    for low, high in street.stretches(6.0):
        x = low + float(rng.uniform(1, 9))
        while x < high:
            if chance(rng, density):
                d = side * (street.half_road_m + float(rng.uniform(0.8, 1.0)))
                yield from grove.tree(rng, street.foot(x, d), near=True, avenue=True)
            x += step * float(rng.uniform(0.85, 1.15))


def _front_gardens(
    rng: np.random.Generator, street: Street, side: int, grove: Grove, low: float, high: float
) -> Iterator[Solid]:
    """Fences, hedges or walls at the back of the pavement, bushes and trees behind them."""
    x = low + float(rng.uniform(0, 3))
    d = side * (street.back_m + 0.3)
    while x < high - 3:
        length = float(min(rng.uniform(5, 13), high - x))
        yield from _border(rng, street, x, length, d, grove)
        if street.setback_m > 1.5:
            for _ in range(int(rng.integers(0, 3))):
                at = x + length * float(rng.random())
                deep = side * (street.back_m + float(rng.uniform(1.0, street.setback_m)))
                yield from grove.bush(rng, street.foot(at, deep))
        if street.setback_m > 3.5 and chance(rng, 0.4):
            deep = side * (street.back_m + 0.5 * street.setback_m)
            yield from grove.tree(rng, street.foot(x + length / 2, deep), near=True)
        x += length + float(rng.choice([0.05, 1.2, 3.2]))


def _border(
    rng: np.random.Generator, street: Street, x: float, length: float, d: float, grove: Grove
) -> Iterator[Solid]:
    kind = rng.random()
    middle = x + length / 2
    if kind < 0.42:
        half = (length / 2, 0.32, float(rng.uniform(0.4, 0.85)))
        yaw = float(street.heading_rad(middle))
        yield from grove.hedge(rng, street.foot(middle, d), yaw, half)
    elif kind < 0.62:
        wall = one_of(rng, WALLS)
        half = (length / 2, 0.12, float(rng.uniform(0.4, 0.8)) + 0.3)
        yield block(street, Surface.FACADE, middle, d, half, -0.6, colour=wall, seed=3, label=WALL)
    elif kind < 0.92:
        yield from fence(street, x, x + length, d, *_fence_style(rng))


def _fence_style(rng: np.random.Generator) -> tuple[float, float, Colour]:
    """Draw a fence's height, gap between bars and colour."""
    wooden = chance(rng, 0.5)
    height = float(rng.uniform(0.8, 1.2))
    return (height, 0.16, one_of(rng, (WHITE, BROWN))) if wooden else (height, 0.13, BLACK)


def fence(
    street: Street, start_x_m: float, end_x_m: float, d_m: float, height_m: float,
    gap_m: float, colour: Colour,
) -> Iterator[Solid]:  # fmt: skip
    """Fence panels of upright bars between two rails; wooden slats where the gaps are wide."""
    wide = 0.035 if gap_m > 0.15 else 0.009
    panel = _panel(height_m, gap_m, wide)
    surface = Surface.WOOD if gap_m > 0.15 else Surface.METAL
    for x in np.arange(start_x_m, end_x_m - 0.5 * PANEL_M, PANEL_M):
        yield body(
            street, surface, float(x) + PANEL_M / 2, d_m, [panel], colour=colour, label=FENCE
        )


@cache
def _panel(height_m: float, gap_m: float, wide_m: float) -> Mesh:
    """One fence panel, centred on its origin."""
    half = PANEL_M / 2
    rails = [box((0.0, 0.0, share * height_m), (half, 0.02, 0.025)) for share in (0.18, 0.88)]
    bars = [
        box((float(u), 0.03, 0.52 * height_m), (wide_m, 0.012, 0.48 * height_m))
        for u in np.arange(-half + 0.05, half, gap_m)
    ]
    foot = box((-half, 0.0, height_m / 2 - 0.2), (0.04, 0.04, height_m / 2 + 0.2))
    return join_meshes([*rails, *bars, foot])


def _park(
    rng: np.random.Generator, street: Street, side: int, grove: Grove, low: float, high: float
) -> Iterator[Solid]:
    """Trees on a lawn, denser far away; bushes; sometimes a low fence along the pavement."""
    num = round((high - low) * float(rng.uniform(0.08, 0.17)))
    for _ in range(num):
        x, away = float(rng.uniform(low, high)), float(rng.uniform(2.5, 26))
        d = side * (street.back_m + away)
        yield from grove.tree(rng, street.foot(x, d), near=away < NEAR_M / 2)
    for _ in range(num):
        x, away = float(rng.uniform(low, high)), float(rng.uniform(28, 60))
        d = side * (street.back_m + away)
        yield from grove.tree(rng, street.foot(x, d), near=False)
    for _ in range(num // 2):
        x, away = float(rng.uniform(low, high)), float(rng.uniform(1.2, 12))
        yield from grove.bush(rng, street.foot(x, side * (street.back_m + away)))
    if chance(rng, 0.5):
        d = side * (street.back_m + 0.25)
        yield from fence(street, low + 1, high - 1, d, *_fence_style(rng))


def _yards(
    rng: np.random.Generator, street: Street, side: int, grove: Grove, low: float, high: float
) -> Iterator[Solid]:
    """High fences with gates, stacked containers, a few trees."""
    d = side * (street.back_m + 0.4)
    x = low + 1.0
    while x < high - 10:
        length = float(min(rng.uniform(14, 40), high - x))
        if chance(rng, 0.75):
            yield from fence(street, x, x + length, d, 2.0, 0.15, ZINC)
        x += length + float(rng.uniform(5, 9))
    for _ in range(round((high - low) / 22)):
        x, away = float(rng.uniform(low + 4, high - 4)), float(rng.uniform(2.0, 4.5))
        colour = one_of(rng, ((0.35, 0.08, 0.04), (0.06, 0.14, 0.26), (0.10, 0.22, 0.12), ZINC))
        where = side * (street.back_m + away)
        if street.setback_m < away + 2.5:
            continue
        for k in range(int(rng.integers(1, 3))):
            yield block(street, Surface.CARGO, x, where, (3.03, 1.22, 1.3), 2.6 * k, label=2,
                        colour=colour, accent=colour, seed=int(rng.integers(256)))  # fmt: skip
    for _ in range(round((high - low) / 30)):
        x = float(rng.uniform(low, high))
        yield from grove.tree(rng, street.foot(x, side * (street.back_m + 1.6)), near=True)
