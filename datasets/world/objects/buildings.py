"""Buildings along a street: shops under flats, houses in gardens, halls in yards."""

from collections.abc import Iterator

import numpy as np

from nightrain.datasets.world.shapes.mesh import box
from nightrain.datasets.world.shapes.solids import Solid, Surface
from nightrain.datasets.world.street.openings import STOREY_M
from nightrain.datasets.world.street.placing import Colour, Half, block, body, chance, one_of
from nightrain.datasets.world.street.street import Street

WALLS = (
    (0.36, 0.13, 0.08),
    (0.45, 0.20, 0.12),
    (0.30, 0.11, 0.075),
    (0.62, 0.55, 0.42),
    (0.68, 0.64, 0.56),
    (0.52, 0.42, 0.28),
    (0.38, 0.40, 0.42),
    (0.62, 0.46, 0.32),
    (0.28, 0.30, 0.33),
    (0.55, 0.58, 0.56),
    (0.60, 0.36, 0.26),
    (0.72, 0.71, 0.68),
)
HALL_WALLS = ((0.55, 0.57, 0.58), (0.30, 0.34, 0.38), (0.62, 0.60, 0.54), (0.22, 0.30, 0.36))
ACCENTS = (
    (0.08, 0.16, 0.10),
    (0.35, 0.05, 0.04),
    (0.06, 0.10, 0.25),
    (0.45, 0.32, 0.06),
    (0.10, 0.09, 0.09),
    (0.60, 0.58, 0.54),
)
ROOFS = ((0.20, 0.07, 0.04), (0.10, 0.10, 0.11), (0.16, 0.09, 0.06))
STYLES = 7  # `openings` draws a shop front at street level where seed % 7 < 3
SHOP_STYLES, PLAIN_STYLES = (0, 1, 2), (3, 4, 5, 6)
FOOTING_M = 2.0  # depth of walls below the pavement, because streets are not level


def draw(rng: np.random.Generator, street: Street, *, main: bool) -> Iterator[Solid]:
    """Draw all buildings of a street; a main street has a second row well behind the first."""
    for side, kind in zip((-1, 1), street.sides, strict=True):
        for low, high in street.stretches(0.3, built=True):
            if kind == "shops":
                yield from _fronts(rng, street, side, low, high)
            elif kind == "houses":
                yield from _houses(rng, street, side, low, high)
            elif kind == "yards":
                yield from _halls(rng, street, side, low, high)
        if main:
            yield from _second_row(rng, street, side, far=kind == "park")


def ends(rng: np.random.Generator, street: Street) -> Iterator[Solid]:
    """Houses across both ends of a street."""
    for x in (-22.0, street.length_m + 22.0):
        for k in range(-3, 4):
            half = (6.0, 11.0, float(rng.uniform(5, 10)))
            wall, style = one_of(rng, WALLS), _style(rng, PLAIN_STYLES)
            at = x + float(rng.uniform(-4, 4))
            yield block(street, Surface.FACADE, at, k * 22.5, half, -FOOTING_M, colour=wall,
                        accent=wall, seed=style)  # fmt: skip


def _style(rng: np.random.Generator, allowed: tuple[int, ...]) -> int:
    return STYLES * int(rng.integers(1 << 12)) + allowed[int(rng.integers(len(allowed)))]


def _fronts(
    rng: np.random.Generator, street: Street, side: int, low: float, high: float
) -> Iterator[Solid]:
    """Terrace of town houses without gaps, most with a shop at street level."""
    storeys_mean = float(rng.uniform(2.8, 5.2))
    x = low if low > 0 else float(rng.uniform(0, 6))
    while x < high - 6:
        width = float(min(rng.uniform(8, 19), high - x))
        storeys = int(np.clip(round(rng.normal(storeys_mean, 1.1)), 2, 8))
        shop = chance(rng, 0.6)
        style = _style(rng, SHOP_STYLES if shop else PLAIN_STYLES)
        back = float(rng.choice([0.0, 0.0, 0.0, 0.4]))
        yield from _house(rng, street, side, x + width / 2, width, storeys, style, back)
        if shop and chance(rng, 0.45):
            yield _awning(rng, street, side, x + width / 2, width, back)
        x += width + float(rng.choice([0.02, 0.02, 0.02, 0.02, 3.5]))


def _houses(
    rng: np.random.Generator, street: Street, side: int, low: float, high: float
) -> Iterator[Solid]:
    """Detached and terraced houses behind front gardens."""
    x = low + float(rng.uniform(0.5, 6))
    terraced = chance(rng, 0.35)
    while x < high - 8:
        width = float(rng.uniform(7, 13))
        storeys = int(rng.choice([1, 2, 2, 2, 3]))
        style = _style(rng, PLAIN_STYLES)
        back = float(rng.uniform(0, 1.5))
        yield from _house(rng, street, side, x + width / 2, width, storeys, style, back)
        x += width + (0.03 if terraced and chance(rng, 0.8) else float(rng.uniform(2.5, 9)))


def _halls(
    rng: np.random.Generator, street: Street, side: int, low: float, high: float
) -> Iterator[Solid]:
    """Warehouses with flat roofs, spaced far apart."""
    x = low + float(rng.uniform(2, 12))
    while x < high - 15:
        width, depth = float(rng.uniform(18, 45)), float(rng.uniform(16, 30))
        half = (width / 2, depth / 2, float(rng.uniform(2.6, 5.0)) + FOOTING_M / 2)
        d = side * (street.front_m + float(rng.uniform(0, 10)) + depth / 2)
        wall, accent = one_of(rng, HALL_WALLS), one_of(rng, ACCENTS)
        yield block(street, Surface.CARGO, x + width / 2, d, half, -FOOTING_M, colour=wall,
                    accent=accent, label=2, seed=int(rng.integers(256)))  # fmt: skip
        for k in range(int(rng.integers(0, 4))):
            gate = x + width * (0.2 + 0.25 * k)
            face = d - side * (depth / 2 + 0.02)
            yield block(street, Surface.CARGO, gate, face, (1.7, 0.04, 1.9), -0.1, label=2,
                        colour=(0.45, 0.46, 0.47), accent=(0.45, 0.46, 0.47))  # fmt: skip
        x += width + float(rng.uniform(8, 35))


def _house(
    rng: np.random.Generator,
    street: Street,
    side: int,
    x_m: float,
    width_m: float,
    storeys: int,
    style: int,
    back_m: float,
) -> Iterator[Solid]:
    """One building: footing, walls, balconies, roof; the walls start at its highest ground."""
    depth = float(rng.uniform(9, 13))
    front = street.front_m + back_m
    d = side * (front + depth / 2)
    half = (width_m / 2, depth / 2, (storeys * STOREY_M + 0.9) / 2)
    base = _rise_m(street, x_m, d, width_m / 2)
    wall, accent = one_of(rng, WALLS), one_of(rng, ACCENTS)
    yield block(street, Surface.FACADE, x_m, d, half, base, colour=wall, accent=accent, seed=style)
    plinth = (half[0] - 0.02, half[1] - 0.02, FOOTING_M / 2)
    yield block(street, Surface.CONCRETE, x_m, d, plinth, base - FOOTING_M, label=2,
                colour=(0.30, 0.29, 0.27))  # fmt: skip
    yield from _roof(rng, street, x_m, d, half, base)
    if storeys > 2 and chance(rng, 0.4):
        yield from _balconies(rng, street, side, x_m, front, half, base, storeys, style)


def _rise_m(street: Street, x_m: float, d_m: float, half_m: float) -> float:
    """Rise of the ground along a facade above the facade's middle."""
    here = street.foot(x_m, d_m)[2]
    return max(street.foot(x_m + dx, d_m)[2] for dx in (-half_m, 0.0, half_m)) - here


def _roof(
    rng: np.random.Generator, street: Street, x_m: float, d_m: float, half_m: Half, base_m: float
) -> Iterator[Solid]:
    half_x, half_d, half_z = half_m
    top = base_m + 2 * half_z
    colour = one_of(rng, ROOFS)
    chimney = (0.35, 0.45, 0.9)
    if half_z > 7.5 or chance(rng, 0.3):  # a flat roof with a visible cornice and huts
        half = (half_x + 0.03, half_d + 0.25, 0.2)
        yield block(street, Surface.METAL, x_m, d_m, half, top, colour=(0.4, 0.38, 0.35), label=2)
        hut = (float(rng.uniform(1, 2)), 1.5, float(rng.uniform(0.7, 1.4)))
        yield block(street, Surface.CONCRETE, x_m + 0.3 * half_x, d_m, hut, top, label=2)
        return
    hip = float(rng.choice([0.05, min(half_x * 0.6, half_d)]))
    inset = (hip, hip, half_d * 0.88, half_d * 0.88)
    half = (half_x + 0.05, half_d + 0.4, float(rng.uniform(1.4, 2.4)))
    yield block(street, Surface.ROOF, x_m, d_m, half, top, colour=colour, inset_m=inset)
    at = x_m + float(rng.uniform(-0.5, 0.5)) * half_x
    yield block(street, Surface.FACADE, at, d_m + 0.2 * half_d, chimney, top + 1.6 * half[2],
                colour=WALLS[0], seed=3)  # fmt: skip


def _balconies(
    rng: np.random.Generator,
    street: Street,
    side: int,
    x_m: float,
    front_m: float,
    half_m: Half,
    base_m: float,
    storeys: int,
    style: int,
) -> Iterator[Solid]:
    """Balconies: slabs with railings in front of some upper windows."""
    bays = max(round(2 * half_m[0] / (2.3 + 0.25 * (style % 5))), 1)
    pitch = 2 * half_m[0] / bays
    slabs, bars = [], []
    z0 = base_m + 0.5
    for bay in np.flatnonzero(rng.random(bays) < 0.45):
        x = -half_m[0] + (bay + 0.5) * pitch
        for storey in range(1, storeys):
            z = z0 + storey * STOREY_M + 0.1
            slabs.append(box((x, -side * 0.45, z), (0.42 * pitch, 0.45, 0.07)))
            bars.append(box((x, -side * 0.88, z + 1.0), (0.42 * pitch, 0.025, 0.03)))
            for k in np.linspace(-0.41, 0.41, 9):
                bars.append(
                    box((x + float(k) * pitch, -side * 0.88, z + 0.52), (0.012, 0.012, 0.46))
                )
    if not slabs:
        return
    d = side * front_m
    yield body(street, Surface.CONCRETE, x_m, d, slabs, colour=(0.45, 0.44, 0.42), label=2)
    yield body(street, Surface.METAL, x_m, d, bars, colour=(0.09, 0.10, 0.10), label=2)


def _awning(
    rng: np.random.Generator, street: Street, side: int, x_m: float, width_m: float, back_m: float
) -> Solid:
    """Awning: a slanting cloth over a shop window."""
    half = (0.42 * width_m, 0.65, 0.28)
    inset = (0.0, 0.0, 0.0, 1.2) if side > 0 else (0.0, 0.0, 1.2, 0.0)
    inset = (inset[0], inset[1], inset[3], inset[2])
    d = side * (street.front_m + back_m - 0.65)
    colour = one_of(rng, ACCENTS)
    base = 2.55 + _rise_m(street, x_m, d, width_m / 2)
    return block(street, Surface.CLOTH, x_m, d, half, base, colour=colour, accent=(0.6, 0.58, 0.54),
                 inset_m=inset, seed=int(rng.integers(256)), label=2)  # fmt: skip


def _second_row(rng: np.random.Generator, street: Street, side: int, far: bool) -> Iterator[Solid]:
    for low, high in street.stretches(36.0, built=True):
        for x in np.arange(low + 12.0, high - 8.0, 38.0):
            half = (float(rng.uniform(7, 13)), 7.0, float(rng.uniform(6, 15)) + FOOTING_M / 2)
            wall: Colour = one_of(rng, WALLS)
            d = side * (street.front_m + (70 if far else 34) + float(rng.uniform(0, 12)))
            yield block(street, Surface.FACADE, float(x + rng.uniform(-6, 6)), d, half, -FOOTING_M,
                        colour=wall, accent=wall, seed=_style(rng, PLAIN_STYLES))  # fmt: skip
