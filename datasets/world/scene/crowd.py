"""Pedestrians and cyclists: on the pavements, waiting, crossing and riding."""

from collections.abc import Iterator

import numpy as np

from nightrain.datasets.world.objects import cycles
from nightrain.datasets.world.objects.people import draw_person
from nightrain.datasets.world.scene.scene import Actor
from nightrain.datasets.world.shapes.solids import Shape, Solid, Surface, pack
from nightrain.datasets.world.street import paths
from nightrain.datasets.world.street.markings import ZEBRA_M
from nightrain.datasets.world.street.motion import Motion, parked, steady
from nightrain.datasets.world.street.paths import Path
from nightrain.datasets.world.street.places import EGO_START_M, Place
from nightrain.datasets.world.street.street import KERB_HEIGHT_M, Street

CHILD_SHARE = 0.07
MAX_WALKERS, MAX_STANDING, MAX_CYCLISTS = 16, 14, 4
ORANGE = (0.62, 0.12, 0.02)


def draw(rng: np.random.Generator, place: Place, ego: Motion, duration_s: float) -> Iterator[Actor]:
    """Draw pedestrians, cyclists and roadworks."""
    drive_m = ego.way_m(duration_s) - ego.way_m(0.0)
    near = (EGO_START_M + 4.0, EGO_START_M + min(drive_m, 120.0) + 55.0)
    yield from _walkers(rng, place, near)
    yield from _standing(rng, place, near)
    yield from _crossing(rng, place, duration_s)
    yield from _cyclists(rng, place, near)
    yield from _parked_cycles(rng, place, near)
    if rng.random() < 0.15:
        yield from _roadworks(rng, place.street, near)


def walker(rng: np.random.Generator, path: Path, street: Street, way_m: float, lift_m: float,
           speed_mps: float) -> Actor:  # fmt: skip
    """Pedestrian who walks along a path."""
    child = bool(rng.random() < CHILD_SHARE)
    person = draw_person(rng, child=child)
    motion = Motion(path=path, hills=street.hills, start_m=way_m, drive=steady(speed_mps),
                    lift_m=lift_m, drift_m=0.06, drift_wave_m=9.0)  # fmt: skip
    return Actor(
        category=_category(child),
        size_m=(0.75, 0.68, person.height_m),
        solids=person.solids,
        motion=motion,
        gait=person.gait(float(rng.uniform(0, 6))),
    )


def _category(child: bool) -> str:
    return "human.pedestrian.child" if child else "human.pedestrian.adult"


def _walkers(rng: np.random.Generator, place: Place, near: tuple[float, float]) -> Iterator[Actor]:
    """Pedestrians along the pavements of both streets, in both directions; some in pairs."""
    for _ in range(min(int(rng.poisson(12 * place.people)), MAX_WALKERS)):
        street = place.streets[-1] if rng.random() < 0.25 else place.street
        side = int(rng.choice([-1, 1]))
        free = max(street.pavement_m - 1.3, 0.1)
        d = side * (street.half_road_m + 0.75 + free * float(rng.random()))
        ends = _walk_ends(rng, street, near if street is place.street else (0.0, street.length_m))
        if ends is None:
            continue
        path = paths.lane(street, d, *ends)
        speed = float(rng.uniform(0.9, 1.7))
        way = float(rng.uniform(0, path.length_m - 12))
        yield walker(rng, path, street, way, KERB_HEIGHT_M, speed)
        if rng.random() < 0.3 and free > 1.6:
            inward = d - 0.72 * side if abs(d) > street.half_road_m + 1.5 else d + 0.72 * side
            beside = paths.lane(street, inward, *ends)
            yield walker(rng, beside, street, way + 0.1, KERB_HEIGHT_M, speed)


def _walk_ends(
    rng: np.random.Generator, street: Street, within: tuple[float, float]
) -> tuple[float, float] | None:
    """Start and end x of a walk along a stretch of pavement, in a random direction."""
    low, high = within
    cut = [(max(a, low), min(b, high)) for a, b in street.stretches()]
    long = [(a, b) for a, b in cut if b - a > 15]
    if not long:
        return None
    a, b = long[int(rng.integers(len(long)))]
    return (a, b) if rng.random() < 0.5 else (b, a)


def _standing(rng: np.random.Generator, place: Place, near: tuple[float, float]) -> Iterator[Actor]:
    """Standing people: talking, waiting for a bus, looking at windows."""
    street = place.street
    for _ in range(min(int(rng.poisson(7 * place.people)), MAX_STANDING)):
        x = float(rng.uniform(*near))
        if street.gap_m[0] - 1 < x < street.gap_m[1] + 1:
            continue
        side = int(rng.choice([-1, 1]))
        d = side * float(rng.uniform(street.half_road_m + 0.7, street.back_m - 0.3))
        yield _stander(rng, street, street.place(x, d), KERB_HEIGHT_M)


def _stander(
    rng: np.random.Generator, street: Street, at_m: tuple[float, float], lift_m: float
) -> Actor:
    turn = float(rng.uniform(0, 2 * np.pi))
    path = paths.straight(at_m, (at_m[0] + np.cos(turn), at_m[1] + np.sin(turn)))
    child = bool(rng.random() < CHILD_SHARE)
    person = draw_person(rng, child=child)
    return Actor(
        category=_category(child),
        size_m=(0.5, 0.62, person.height_m),
        solids=person.standing(),
        motion=parked(path, street.hills, 0.0, lift_m),
    )


def _crossing(rng: np.random.Generator, place: Place, duration_s: float) -> Iterator[Actor]:
    """People crossing the main street at the junction or between parked cars far ahead."""
    street = place.street
    low, high = street.gap_m
    num = int(rng.poisson(3 * place.people))
    for _ in range(num):
        if high > low:
            x = float(rng.choice([low - np.mean(ZEBRA_M), high + np.mean(ZEBRA_M)]))
            x += float(rng.uniform(-1.2, 1.2))
        else:
            x = EGO_START_M + float(rng.uniform(25, 90))
        side = int(rng.choice([-1, 1]))
        reach = street.half_road_m + 0.3
        path = paths.straight(street.place(x, side * reach), street.place(x, -side * reach))
        speed = float(rng.uniform(1.0, 1.8))
        start = float(rng.uniform(-0.5 * speed * duration_s, path.length_m - 1.5))
        # Drop those who have not reached the road yet: they would walk through the pavement.
        if start < 0 or start + speed * (duration_s + 1) > path.length_m:
            start = max(min(start, path.length_m - speed * (duration_s + 1)), 0.0)
        yield walker(rng, path, street, start, 0.0, speed)


def _cyclists(rng: np.random.Generator, place: Place, near: tuple[float, float]) -> Iterator[Actor]:
    """Cyclists at the edge of the lane, in both directions."""
    street = place.street
    for _ in range(min(int(rng.poisson(0.6 + 1.2 * place.people)), MAX_CYCLISTS)):
        with_us = rng.random() < 0.6
        motor = bool(rng.random() < 0.35)
        edge = street.lanes_m - (1.2 if motor else 0.55)
        ends = (near[0] - 40, near[1] + 150)
        path = paths.lane(street, -edge if with_us else edge, *(ends if with_us else ends[::-1]))
        speed = float(rng.uniform(5, 10) if motor else rng.uniform(3.2, 6.0))
        way = float(rng.uniform(50, path.length_m - 60))
        motion = Motion(path=path, hills=street.hills, start_m=way, drive=steady(speed),
                        drift_m=0.12, drift_wave_m=17.0)  # fmt: skip
        yield _cycle(rng, motion, motor=motor, ridden=True)


def _cycle(rng: np.random.Generator, motion: Motion, *, motor: bool, ridden: bool) -> Actor:
    make = cycles.motorcycle if motor else cycles.bicycle
    length, width, height = cycles.MOTORCYCLE_M if motor else cycles.BICYCLE_M
    lamps = cycles.motorcycle_lamps() if motor else cycles.bicycle_lamps()
    return Actor(
        category="vehicle.motorcycle" if motor else "vehicle.bicycle",
        size_m=(length, width, cycles.RIDDEN_M if ridden else height),
        solids=make(rng, ridden),
        motion=motion,
        lamps=lamps if ridden else (),
        has_rider=ridden,
    )


def _parked_cycles(
    rng: np.random.Generator, place: Place, near: tuple[float, float]
) -> Iterator[Actor]:
    """Bicycles parked side by side on the pavement, and an occasional motorcycle."""
    street = place.street
    for _ in range(int(rng.poisson(1.6 * place.people))):
        x, side = float(rng.uniform(*near)), int(rng.choice([-1, 1]))
        motor = bool(rng.random() < 0.3)
        for k in range(1 if motor else int(rng.integers(1, 6))):
            at = x + 0.7 * k
            if street.gap_m[0] - 1 < at < street.gap_m[1] + 1:
                continue
            a = street.place(at, side * (street.back_m - 1.4))
            b = street.place(at + float(rng.normal(0, 0.1)), side * (street.back_m - 0.4))
            path = paths.straight(a, b)
            motion = parked(path, street.hills, 0.5, KERB_HEIGHT_M)
            yield _cycle(rng, motion, motor=motor, ridden=False)


def _roadworks(
    rng: np.random.Generator, street: Street, near: tuple[float, float]
) -> Iterator[Actor]:
    """Row of cones or barriers at the edge of the road."""
    side = int(rng.choice([-1, 1]))
    x = float(rng.uniform(near[0] + 15, near[1]))
    cones = bool(rng.random() < 0.6)
    for k in range(int(rng.integers(3, 8))):
        at = x + k * (2.2 if cones else 1.7)
        if street.gap_m[0] - 2 < at < street.gap_m[1] + 2:
            continue
        d = side * (street.lanes_m - 0.1)
        path = paths.lane(street, d, at - 0.5, at + 0.5)
        size = (0.36, 0.36, 0.7) if cones else (1.5, 0.45, 1.0)
        yield Actor(
            category="movable_object.trafficcone" if cones else "movable_object.barrier",
            size_m=size,
            solids=pack(_cone() if cones else _barrier()),
            motion=parked(path, street.hills, 0.5),
        )


def _cone() -> list[Solid]:
    colours = (ORANGE, (0.62, 0.62, 0.62), ORANGE)
    rings = ((0.04, 0.30, 0.14, 0.10), (0.30, 0.45, 0.10, 0.075), (0.45, 0.70, 0.075, 0.03))
    lean = []
    for (low, high, wide, top), colour in zip(rings, colours, strict=True):
        inset = wide - top
        lean.append(
            Solid(shape=Shape.BLOCK, surface=Surface.SKIN, centre_m=(0.0, 0.0, (low + high) / 2),
                  half_m=(wide, wide, (high - low) / 2), inset_m=(inset, inset, inset, inset),
                  colour=colour, label=255)
        )  # fmt: skip
    foot = Solid(shape=Shape.BLOCK, surface=Surface.SKIN, centre_m=(0.0, 0.0, 0.02),
                 half_m=(0.18, 0.18, 0.02), colour=ORANGE, label=255)  # fmt: skip
    return [foot, *lean]


def _barrier() -> list[Solid]:
    return [
        Solid(shape=Shape.BLOCK, surface=Surface.CLOTH, centre_m=(0.0, 0.0, 0.5),
              half_m=(0.75, 0.20, 0.5), inset_m=(0.0, 0.0, 0.13, 0.13), colour=(0.6, 0.6, 0.58),
              accent=ORANGE, seed=1, label=255)
    ]  # fmt: skip
