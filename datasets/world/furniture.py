"""What stands beside a street: pavement, buildings, trees, hedges, lamps and signs."""

from collections.abc import Iterator

import numpy as np

from datasets.world.solids import Shape, Solid, Surface
from datasets.world.street import KERB_HEIGHT_M, Street

WALLS = (
    (0.36, 0.13, 0.08),
    (0.45, 0.20, 0.12),
    (0.62, 0.55, 0.42),
    (0.68, 0.64, 0.56),
    (0.52, 0.42, 0.28),
    (0.38, 0.40, 0.42),
    (0.62, 0.46, 0.32),
    (0.28, 0.30, 0.33),
    (0.55, 0.58, 0.56),
    (0.60, 0.36, 0.26),
)
ACCENTS = (
    (0.08, 0.16, 0.10),
    (0.35, 0.05, 0.04),
    (0.06, 0.10, 0.25),
    (0.45, 0.32, 0.06),
    (0.10, 0.09, 0.09),
    (0.60, 0.58, 0.54),
)
ROOFS = ((0.20, 0.07, 0.04), (0.10, 0.10, 0.11), (0.16, 0.09, 0.06))
_BRANCHES = ((0.75, 0.85), (0.3, 0.6), (0.45, 0.65), (0.95, 0.62), (1.15, 0.6), (1.3, 0.5))
LEAVES = ((0.07, 0.14, 0.03), (0.10, 0.16, 0.03), (0.05, 0.11, 0.03), (0.15, 0.15, 0.03))


def draw(rng: np.random.Generator, street: Street) -> Iterator[Solid]:
    """Everything static of a scene but the ground."""
    for side in (-1, 1):
        yield from _pavement(street, side)
        yield from _buildings(rng, street, side)
        yield from _second_row(rng, street, side)
        yield from _trees(rng, street, side)
        yield from _lamps(rng, street, side)
        yield from _signs(rng, street, side)
        yield from _gardens(rng, street, side)
    yield from _ends(rng, street)


def _pavement(street: Street, side: int) -> Iterator[Solid]:
    step = 10.0
    d = side * (street.half_road_m + street.pavement_m / 2)
    for x in np.arange(step / 2, street.length_m, step):
        yield _block(
            street,
            Surface.PAVEMENT,
            float(x),
            d,
            (step / 2 + 0.25, street.pavement_m / 2, KERB_HEIGHT_M / 2),
            0.0,
        )


def _buildings(rng: np.random.Generator, street: Street, side: int) -> Iterator[Solid]:
    """A row of fronts; heights, widths, walls and roofs differ, and gaps let the sky in."""
    x = float(rng.uniform(0, 6))
    storeys_mean = float(rng.uniform(2.2, 4.2))
    while x < street.length_m:
        width = float(rng.uniform(8, 19))
        depth = float(rng.uniform(9, 13))
        storeys = int(np.clip(round(rng.normal(storeys_mean, 1.2)), 2, 7))
        d = side * (street.front_m + depth / 2 + float(rng.choice([0.0, 0.0, 0.5, 1.2])))
        half = (width / 2, depth / 2, (storeys * 3.1 + 0.9) / 2)
        style = int(rng.integers(1 << 16))
        wall = WALLS[int(rng.integers(len(WALLS)))]
        accent = ACCENTS[int(rng.integers(len(ACCENTS)))]
        yield _block(street, Surface.FACADE, x + width / 2, d, half, 0.0, wall, accent, style)
        yield _roof(rng, street, x + width / 2, d, half)
        x += width + float(rng.choice([0.05, 0.05, 0.05, 2.5, 9.0]))


def _roof(
    rng: np.random.Generator,
    street: Street,
    x_m: float,
    d_m: float,
    house_half_m: tuple[float, float, float],
) -> Solid:
    half_x, half_d, half_z = house_half_m
    colour = ROOFS[int(rng.integers(len(ROOFS)))]
    if half_z > 7.5 or rng.random() < 0.4:  # a flat roof: only its cornice is seen
        half, inset = (half_x + 0.15, half_d + 0.25, 0.2), (0.0, 0.0, 0.0, 0.0)
        return _block(
            street, Surface.METAL, x_m, d_m, half, 2 * half_z, (0.4, 0.38, 0.35), inset_m=inset
        )
    hip = float(rng.choice([0.05, half_x * 0.6]))
    inset = (hip, hip, half_d * 0.85, half_d * 0.85)
    half = (half_x + 0.1, half_d + 0.4, float(rng.uniform(1.3, 2.2)))
    return _block(street, Surface.ROOF, x_m, d_m, half, 2 * half_z, colour, inset_m=inset)


def _second_row(rng: np.random.Generator, street: Street, side: int) -> Iterator[Solid]:
    for x in np.arange(15.0, street.length_m, 38.0):
        half = (float(rng.uniform(7, 13)), 7.0, float(rng.uniform(6, 15)))
        wall = WALLS[int(rng.integers(len(WALLS)))]
        d = side * (street.front_m + 30 + float(rng.uniform(0, 12)))
        style = int(rng.integers(1 << 16))
        x_here = float(x + rng.uniform(-8, 8))
        yield _block(street, Surface.FACADE, x_here, d, half, 0.0, wall, wall, style)


def _trees(rng: np.random.Generator, street: Street, side: int) -> Iterator[Solid]:
    x = float(rng.uniform(4, 14))
    density = float(rng.uniform(0.5, 0.95))
    while x < street.length_m:
        if rng.random() < density:
            d = side * (street.half_road_m + float(rng.uniform(0.75, 1.0)))
            yield from tree(rng, street.place(x, d))
        x += float(rng.uniform(10, 19))


def tree(rng: np.random.Generator, place_m: tuple[float, float]) -> Iterator[Solid]:
    """A trunk and a crown of six torn ellipsoids at a place (x, y) of the world, metres."""
    trunk_m, size_m = float(rng.uniform(2.2, 3.2)), float(rng.uniform(1.3, 2.2))
    radius = 0.07 + 0.06 * size_m
    leaves = LEAVES[int(rng.integers(len(LEAVES)))]
    x, y = place_m
    height = trunk_m + size_m
    yield Solid(
        shape=Shape.CYLINDER,
        surface=Surface.BARK,
        centre_m=(x, y, height / 2),
        half_m=(radius, radius, height / 2),
        colour=(0.11, 0.08, 0.055),
        seed=int(rng.integers(256)),
    )
    turn = float(rng.uniform(0, 2 * np.pi))
    for branch, (lift, share) in enumerate(_BRANCHES):
        way = 0.62 * size_m * (branch > 0) * float(rng.uniform(0.7, 1.2))
        dx, dy = way * np.cos(turn + 2.1 * branch), way * np.sin(turn + 2.1 * branch)
        r = size_m * share * float(rng.uniform(0.85, 1.15))
        yield Solid(
            shape=Shape.ELLIPSOID,
            surface=Surface.LEAVES,
            centre_m=(x + float(dx), y + float(dy), trunk_m + lift * size_m),
            half_m=(r * float(rng.uniform(0.95, 1.15)), r, r * float(rng.uniform(0.8, 1.0))),
            yaw_rad=float(rng.uniform(0, np.pi)),
            colour=leaves,
            seed=int(rng.integers(256)),
        )


def _lamps(rng: np.random.Generator, street: Street, side: int) -> Iterator[Solid]:
    grey = (0.16, 0.17, 0.17)
    height = 7.0
    for x in np.arange(10.0 + 14.0 * (side > 0), street.length_m, 29.0):
        d = street.half_road_m + 0.45
        px, py = street.place(float(x), side * d)
        yield Solid(
            shape=Shape.CYLINDER,
            surface=Surface.METAL,
            centre_m=(px, py, height / 2),
            half_m=(0.075, 0.075, height / 2),
            colour=grey,
        )
        arm, head = side * (d - 0.8), side * (d - 1.7)
        yield _block(street, Surface.METAL, float(x), arm, (0.04, 0.85, 0.04), height - 0.08, grey)
        yield _block(street, Surface.METAL, float(x), head, (0.14, 0.35, 0.06), height - 0.12, grey)


def _signs(rng: np.random.Generator, street: Street, side: int) -> Iterator[Solid]:
    x = float(rng.uniform(18, 40))
    while x < street.length_m:
        d = side * (street.half_road_m + 0.35)
        px, py = street.place(x, d)
        yield Solid(
            shape=Shape.CYLINDER,
            surface=Surface.METAL,
            centre_m=(px, py, 1.5),
            half_m=(0.035, 0.035, 1.5),
            colour=(0.35, 0.36, 0.37),
        )
        colour = ((0.02, 0.08, 0.35), (0.5, 0.02, 0.02), (0.55, 0.40, 0.02))[int(rng.integers(3))]
        yield _block(street, Surface.SIGN, x, d, (0.02, 0.32, 0.32), 2.3, colour)
        x += float(rng.uniform(28, 60))


def _gardens(rng: np.random.Generator, street: Street, side: int) -> Iterator[Solid]:
    """Hedges and garden walls at the back of the pavement, where houses stand back."""
    if street.setback_m < 2:
        return
    d = side * (street.half_road_m + street.pavement_m + 0.35)
    x = float(rng.uniform(0, 8))
    while x < street.length_m:
        half_x = float(rng.uniform(2, 6))
        if rng.random() < 0.7:
            hedge = bool(rng.random() < 0.6)
            half = (half_x, 0.28 if hedge else 0.12, float(rng.uniform(0.35, 0.65)))
            surface = Surface.HEDGE if hedge else Surface.CARGO
            colour = LEAVES[int(rng.integers(3))] if hedge else WALLS[int(rng.integers(len(WALLS)))]
            yield _block(street, surface, x + half_x, d, half, 0.0, colour, colour)
        x += 2 * half_x + float(rng.uniform(0.8, 3.0))


def _ends(rng: np.random.Generator, street: Street) -> Iterator[Solid]:
    """Houses across both ends of the street."""
    for x in (-14.0, street.length_m + 14.0):
        for k in range(-2, 3):
            half = (6.0, 11.0, float(rng.uniform(5, 9)))
            wall = WALLS[int(rng.integers(len(WALLS)))]
            style = int(rng.integers(1 << 16))
            yield _block(street, Surface.FACADE, x, k * 22.5, half, 0.0, wall, wall, style)


def _block(
    street: Street,
    surface: Surface,
    x_m: float,
    d_m: float,
    half_m: tuple[float, float, float],
    base_m: float,
    colour: tuple[float, float, float] = (0.5, 0.5, 0.5),
    accent: tuple[float, float, float] = (0.5, 0.5, 0.5),
    seed: int = 0,
    inset_m: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0),
) -> Solid:
    """A block that stands at `base_m`, aligned with the street at (x, d)."""
    px, py = street.place(x_m, d_m)
    return Solid(
        shape=Shape.BLOCK,
        surface=surface,
        centre_m=(px, py, base_m + half_m[2]),
        half_m=half_m,
        yaw_rad=street.heading_rad(x_m),
        colour=colour,
        accent=accent,
        seed=seed,
        inset_m=inset_m,
    )
