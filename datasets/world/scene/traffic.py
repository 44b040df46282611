"""Other vehicles: parked, oncoming, ahead and behind, waiting or crossing at the junction."""

from collections.abc import Iterator

import numpy as np

from nightrain.datasets.world.objects import vehicles
from nightrain.datasets.world.objects.vehicles import Vehicle
from nightrain.datasets.world.scene.scene import Actor
from nightrain.datasets.world.street import paths
from nightrain.datasets.world.street.journeys import Journey
from nightrain.datasets.world.street.markings import STOP_M
from nightrain.datasets.world.street.motion import Drive, Motion, parked, steady
from nightrain.datasets.world.street.street import Street

EGO_LENGTH_M, EGO_MIDDLE_M = 4.6, 1.5  # of the ego vehicle; its middle is ahead of the rear axle
KERB_GAP_M = 0.28
BEYOND_M = 120.0  # traffic starts this far beyond the street's ends


def actor(vehicle: Vehicle, motion: Motion) -> Actor:
    """Make an actor from a vehicle; its lamps are off if it never moves."""
    driven = not motion.is_still()
    return Actor(
        category=vehicle.category,
        size_m=vehicle.size_m,
        solids=vehicle.solids(driven),
        motion=motion,
        lamps=vehicle.lamps() if driven else (),
    )


def at_kerb(rng: np.random.Generator, street: Street, fill: float) -> Iterator[Actor]:
    """Vehicles parked along both kerbs, with varying gaps and some empty spaces."""
    if street.parking_m < 1.9:
        return
    for side in (-1, 1):
        share = float(np.clip(fill + rng.uniform(-0.25, 0.25), 0, 1))
        for low, high in street.stretches(7.0):
            x = low + float(rng.uniform(1, 6))
            while x < high:
                vehicle = vehicles.pick(rng, 0.10, bus=False)
                length, width, _ = vehicle.size_m
                x += length / 2
                d = side * (street.half_road_m - KERB_GAP_M - width / 2 + rng.normal(0, 0.05))
                if rng.random() < share and x + length / 2 < high:
                    turned = side > 0
                    ends = (x + 1, x - 1) if turned else (x - 1, x + 1)
                    path = paths.lane(street, float(d), *ends)
                    yield actor(vehicle, parked(path, street.hills, path.length_m / 2))
                x += length / 2 + float(rng.uniform(0.8, 2.6))


def convoy(rng: np.random.Generator, street: Street, ego: Motion, lead: Vehicle | None,
           lead_gap_m: float) -> Iterator[Actor]:  # fmt: skip
    """Vehicles in the ego lane: one ahead, more in front of it, one behind."""
    ahead = EGO_MIDDLE_M + EGO_LENGTH_M / 2
    if lead is not None:
        vehicle, gap = lead, lead_gap_m
        for _ in range(int(rng.integers(1, 4))):
            half = vehicle.size_m[0] / 2
            yield actor(vehicle, _with(ego, ahead + gap + half, float(rng.uniform(0.5, 1.6))))
            ahead += gap + 2 * half + 8.0
            vehicle, gap = vehicles.pick(rng, 0.2), float(rng.uniform(3, 25))
    if rng.random() < 0.8:
        vehicle = vehicles.pick(rng, 0.15)
        behind = EGO_MIDDLE_M - EGO_LENGTH_M / 2 - float(rng.uniform(4, 14)) - vehicle.size_m[0] / 2
        yield actor(vehicle, _with(ego, behind, -float(rng.uniform(0.3, 1.0))))


def _with(ego: Motion, ahead_m: float, headway_s: float) -> Motion:
    return Motion(path=ego.path, hills=ego.hills, start_m=ego.start_m + ahead_m, drive=ego.drive,
                  headway_s=headway_s, drift_m=0.08, drift_phase_rad=2.0)  # fmt: skip


def oncoming(
    rng: np.random.Generator, street: Street, journey: Journey, ego: Motion
) -> Iterator[Actor]:
    """Oncoming traffic; it stops at the light when the ego vehicle does."""
    high = street.gap_m[1]
    for k in range(street.num_lanes):
        path = paths.lane(street, (k + 0.5) * street.lane_m, street.length_m + BEYOND_M, -BEYOND_M)
        if journey.event == "stop":
            line = path.nearest_way_m(*street.place(high + STOP_M[1], 0.0))
            done = ego.drive.way_m(60.0) if _never_goes(ego.drive) else _stop_way_m(ego.drive)
            yield from _queue(rng, street, path, line - done, ego.drive)
            continue
        drive = steady(float(rng.uniform(5.5, 11)))
        way = float(rng.uniform(0, 40))
        dense = float(rng.uniform(0.4, 1.6))
        while way < path.length_m + 100:
            vehicle = vehicles.pick(rng, 0.15)
            yield actor(vehicle, _cruise(rng, path, street, way, drive))
            way += vehicle.size_m[0] + 6 + float(rng.exponential(44 / dense))


def same_way(rng: np.random.Generator, street: Street, ego: Motion) -> Iterator[Actor]:
    """Traffic in the other lanes of the ego vehicle's direction."""
    x, y, _ = ego.path.at(ego.start_m)
    mine = float(street.coordinates(np.array([x]), np.array([y]))[1][0])
    for k in range(street.num_lanes):
        d = -(k + 0.5) * street.lane_m
        if abs(d - mine) < 1.0:
            continue
        path = paths.lane(street, d, -BEYOND_M, street.length_m + BEYOND_M)
        start = path.nearest_way_m(x, y)
        way = start - float(rng.uniform(15, 60))
        while way < start + 160:
            vehicle = vehicles.pick(rng, 0.15)
            yield actor(vehicle, _cruise(rng, path, street, way, ego.drive))
            way += vehicle.size_m[0] + 5 + float(rng.exponential(38))


def crossing(
    rng: np.random.Generator, street: Street, journey: Journey, duration_s: float
) -> Iterator[Actor]:
    """Vehicles of the cross street: waiting at their lines, or driving while the ego waits."""
    cross = street.cross
    if cross is None:
        return
    moving = journey.event == "stop"
    for side in (-1, 1):
        start, end = (-40.0, cross.length_m + 40) if side > 0 else (cross.length_m + 40, -40.0)
        path = paths.lane(cross, -side * 0.5 * cross.lane_m, start, end)
        line = cross.gap_m[0] - STOP_M[1] if side > 0 else cross.gap_m[1] + STOP_M[1]
        stop = path.nearest_way_m(*cross.place(line, 0.0))
        if moving:
            drive = steady(float(rng.uniform(5, 9)))
            way = stop - float(rng.uniform(0, 60)) - drive.speed_mps(0) * duration_s * 0.5
            for _ in range(int(rng.integers(1, 4))):
                yield actor(vehicles.pick(rng, 0.15), _cruise(rng, path, cross, way, drive))
                way += float(rng.uniform(12, 35))
            continue
        way = stop
        for _ in range(int(rng.integers(0, 4))):
            vehicle = vehicles.pick(rng, 0.15)
            half = vehicle.size_m[0] / 2
            yield _waiting(vehicle, path, cross, way - half)
            way -= 2 * half + float(rng.uniform(1.2, 3.0))


def _waiting(vehicle: Vehicle, path: paths.Path, street: Street, way_m: float) -> Actor:
    """Vehicle that stands at a red light with its lamps on."""
    motion = parked(path, street.hills, way_m)
    return Actor(category=vehicle.category, size_m=vehicle.size_m, solids=vehicle.solids(True),
                 motion=motion, lamps=vehicle.lamps(), in_traffic=True)  # fmt: skip


def _queue(
    rng: np.random.Generator, street: Street, path: paths.Path, line_m: float, drive: Drive
) -> Iterator[Actor]:
    """Queue with its first vehicle stopped at a line; other vehicles have passed before it."""
    way = line_m
    while way > line_m - 75:
        vehicle = vehicles.pick(rng, 0.15)
        half = vehicle.size_m[0] / 2
        yield actor(vehicle, _cruise(rng, path, street, way - half, drive))
        way -= 2 * half + (float(rng.uniform(1.5, 4)) if rng.random() < 0.6 else
                           float(rng.uniform(8, 40)))  # fmt: skip
    way = line_m + 26 + 2 * street.half_road_m
    for _ in range(int(rng.integers(0, 4))):
        yield actor(vehicles.pick(rng, 0.15), _cruise(rng, path, street, way, drive))
        way += float(rng.uniform(10, 40))


def _cruise(
    rng: np.random.Generator, path: paths.Path, street: Street, way_m: float, drive: Drive
) -> Motion:
    return Motion(path=path, hills=street.hills, start_m=way_m, drive=drive, drift_m=0.1,
                  drift_phase_rad=float(rng.uniform(0, 6)))  # fmt: skip


def _never_goes(drive: Drive) -> bool:
    return bool(drive.speeds_mps[-1] == 0)


def _stop_way_m(drive: Drive) -> float:
    """Distance from time 0 at which a drive stands still, metres."""
    still = np.flatnonzero(drive.speeds_mps == 0)
    if not len(still):
        return drive.way_m(float(drive.times_s[np.argmin(drive.speeds_mps)]))
    return drive.way_m(float(drive.times_s[still[0]]))
