"""Street furniture: lamp posts, bins, bollards, benches, shelters, boards, poles."""

from collections.abc import Iterator

import numpy as np

from nightrain.datasets.world.objects.street_lamps import COOL, LAMP_CD, WARM
from nightrain.datasets.world.shapes.lamps import Lamp
from nightrain.datasets.world.shapes.mesh import box, tube
from nightrain.datasets.world.shapes.solids import Solid, Surface
from nightrain.datasets.world.street.placing import (
    GREY,
    ZINC,
    Colour,
    block,
    body,
    chance,
    one_of,
    post,
)
from nightrain.datasets.world.street.street import Street

OTHER = 255  # no Cityscapes class
HEAD_M = 1.7  # reach of a lamp's head over the road
GREEN: Colour = (0.05, 0.12, 0.07)


class LampPosts:
    """Street lamps of a scene: height, spacing, colour, power."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.height_m = float(rng.uniform(5.5, 8.5))
        self.spacing_m = float(rng.uniform(24, 36))
        self.colour = WARM if rng.random() < 0.6 else COOL
        self.intensity_cd = float(LAMP_CD * rng.uniform(0.6, 1.6))

    def places(self, street: Street, side: int) -> Iterator[float]:
        """Positions x of the posts on one side, metres."""
        first = 10.0 + 0.5 * self.spacing_m * (side > 0)
        for low, high in street.stretches(1.0):
            for x in np.arange(first, street.length_m, self.spacing_m):
                if low <= x <= high:
                    yield float(x)


def draw(rng: np.random.Generator, street: Street, lighting: LampPosts) -> Iterator[Solid]:
    """Draw the furniture of both pavements of a street."""
    for side, kind in zip((-1, 1), street.sides, strict=True):
        yield from _lamp_posts(street, side, lighting)
        for low, high in street.stretches(3.0):
            yield from _small(rng, street, side, low, high, busy=kind in ("shops", "park"))
            if kind in ("shops", "park") and high - low > 40:
                yield from _shelter(rng, street, side, float(rng.uniform(low + 8, high - 8)))
    if chance(rng, 0.3):
        yield from _wires(rng, street)


def street_lamps(street: Street, lighting: LampPosts) -> Iterator[Lamp]:
    """Light sources of the lamp posts on both sides."""
    for side in (-1, 1):
        for x in lighting.places(street, side):
            px, py = street.place(x, side * (street.half_road_m + 0.45 - HEAD_M))
            z = street.foot(x, side * (street.half_road_m + 0.45))[2]
            yield Lamp(
                place_m=(px, py, z + lighting.height_m - 0.2),
                intensity_cd=lighting.intensity_cd,
                colour=lighting.colour,
                half_angle_deg=65.0,
                radius_m=0.2,
            )


def _lamp_posts(street: Street, side: int, lighting: LampPosts) -> Iterator[Solid]:
    top = lighting.height_m
    for x in lighting.places(street, side):
        d = side * (street.half_road_m + 0.45)
        yield post(street, x, d, top, 0.07, GREY)
        axis = np.array([(0, 0, top - 0.3), (0, -0.3 * side, top), (0, -HEAD_M * side, top + 0.05)])
        yield body(street, Surface.METAL, x, d, [tube(axis, np.full(3, 0.04))], colour=GREY)
        over = -side * HEAD_M
        head = box((0.0, over, top), (0.14, 0.34, 0.06))
        yield body(street, Surface.METAL, x, d, [head], colour=GREY)
        glass = box((0.0, over, top - 0.075), (0.11, 0.28, 0.015))
        yield body(
            street, Surface.STREET_LAMP, x, d, [glass], colour=(0.7, 0.7, 0.66),
            accent=lighting.colour, label=5,
        )  # fmt: skip


def _small(
    rng: np.random.Generator, street: Street, side: int, low: float, high: float, busy: bool
) -> Iterator[Solid]:
    """Bins, bollards, benches, boxes and boards at the kerb or the back of the pavement."""
    x = low + float(rng.uniform(1, 10))
    kerb = side * (street.half_road_m + 0.4)
    back = side * (street.back_m - 0.45)
    while x < high:
        kind = rng.random()
        if kind < 0.22:
            yield _bin(rng, street, x, kerb if chance(rng, 0.5) else back)
        elif kind < 0.42 and busy:
            for k in range(int(rng.integers(2, 6))):
                yield post(street, min(x + 1.4 * k, high), kerb, 0.95, 0.055, GREY, 5)
        elif kind < 0.55 and busy:
            yield from _bench(street, x, back, side)
        elif kind < 0.70:
            half = (float(rng.uniform(0.3, 0.7)), 0.2, float(rng.uniform(0.5, 0.75)))
            yield block(street, Surface.METAL, x, back, half, colour=one_of(rng, (ZINC, GREEN)),
                        label=OTHER)  # fmt: skip
        elif kind < 0.80 and busy:
            yield from _board(rng, street, x, kerb)
        elif kind < 0.88:
            yield _hydrant(street, x, kerb)
        x += float(rng.uniform(3, 12) if busy else rng.uniform(8, 25))


def _bin(rng: np.random.Generator, street: Street, x: float, d: float) -> Solid:
    height = float(rng.uniform(0.75, 1.1))
    colour = one_of(rng, (GREEN, (0.05, 0.05, 0.05), (0.05, 0.09, 0.22), (0.30, 0.20, 0.03)))
    axis = np.array([(0, 0, 0.0), (0, 0, 0.9 * height), (0, 0, 0.92 * height), (0, 0, height)])
    shape = tube(axis, np.array([0.22, 0.28, 0.30, 0.16]), 8)
    return body(street, Surface.METAL, x, d, [shape], colour=colour, label=OTHER)


def _hydrant(street: Street, x: float, d: float) -> Solid:
    axis = np.array([(0, 0, 0.0), (0, 0, 0.55), (0, 0, 0.72), (0, 0, 0.8)])
    arms = tube(np.array([(0, -0.2, 0.5), (0, 0.2, 0.5)]), np.full(2, 0.06))
    shape = tube(axis, np.array([0.13, 0.11, 0.12, 0.03]), 8)
    return body(street, Surface.METAL, x, d, [shape, arms], colour=(0.45, 0.05, 0.03), label=OTHER)


def _bench(street: Street, x: float, d: float, side: int) -> Iterator[Solid]:
    slats = [box((0, -side * y, 0.44), (0.8, 0.05, 0.02)) for y in (0.05, 0.17, 0.29)]
    slats += [box((0, side * 0.06, z), (0.8, 0.02, 0.045)) for z in (0.6, 0.72, 0.84)]
    feet = [box((u, -side * 0.12, 0.22), (0.03, 0.2, 0.22)) for u in (-0.65, 0.65)]
    feet += [box((u, side * 0.08, 0.45), (0.03, 0.02, 0.45)) for u in (-0.65, 0.65)]
    yield body(street, Surface.WOOD, x, d, slats, colour=(0.24, 0.14, 0.07), label=OTHER)
    yield body(street, Surface.METAL, x, d, feet, colour=GREY, label=OTHER)


def _board(rng: np.random.Generator, street: Street, x: float, d: float) -> Iterator[Solid]:
    """Advertising board that faces along the street."""
    seed = int(rng.integers(256))
    yield body(street, Surface.METAL, x, d, [box((0, 0, 1.15), (0.09, 0.66, 1.15))],
               colour=GREY, label=OTHER)  # fmt: skip
    picture = [box((u, 0, 1.3), (0.01, 0.58, 0.86)) for u in (-0.095, 0.095)]
    yield body(street, Surface.POSTER, x, d, picture, seed=seed, label=OTHER,
               colour=(0.5, 0.45, 0.3), half_m=(0.1, 0.58, 1.3))  # fmt: skip


def _shelter(rng: np.random.Generator, street: Street, side: int, x: float) -> Iterator[Solid]:
    """Bus shelter: posts, a roof, panes, a board at one end."""
    if street.pavement_m < 2.4:
        return
    d = side * (street.half_road_m + 1.6)
    frame = [box((u, v, 1.2), (0.04, 0.04, 1.2)) for u in (-1.9, 1.9) for v in (-0.6, 0.6)]
    frame.append(box((0, 0, 2.45), (2.1, 0.85, 0.06)))
    yield body(street, Surface.METAL, x, d, frame, colour=GREY, label=OTHER)
    pane = [box((0, side * 0.6, 1.25), (1.85, 0.01, 0.95))]
    yield body(street, Surface.GLASS, x, d, pane, colour=(0.05, 0.06, 0.06), label=OTHER)
    seed = int(rng.integers(256))
    yield body(street, Surface.POSTER, x, d, [box((1.95, 0, 1.25), (0.04, 0.6, 0.9))], seed=seed,
               colour=(0.3, 0.4, 0.5), half_m=(0.1, 0.6, 1.25), label=OTHER)  # fmt: skip


def _wires(rng: np.random.Generator, street: Street) -> Iterator[Solid]:
    """Wooden poles along one side with sagging wires."""
    side = int(rng.choice([-1, 1]))
    d = side * (street.back_m - 0.2)
    step = float(rng.uniform(28, 40))
    for x in np.arange(6.0, street.length_m - step, step):
        low, high = street.gap_m
        if low - 1 < x < high + 1:
            continue
        yield post(street, float(x), d, 9.0, 0.13, (0.16, 0.12, 0.09), 5)
        arm = box((0, 0, 8.5), (0.05, 0.8, 0.06))
        u = np.linspace(0, step, 7)
        end = street.foot(float(x) + step, d)[2] - street.foot(float(x), d)[2]
        z = 8.55 + end * u / step - 0.9 * 4 * u * (step - u) / step**2
        wires = [
            tube(np.column_stack([u, np.full(7, v), z]), np.full(7, 0.012), 3) for v in (-0.7, 0.7)
        ]
        yield body(street, Surface.METAL, float(x), d, [arm, *wires], colour=(0.03, 0.03, 0.03))
