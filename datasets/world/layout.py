"""Where everything stands: a scene drawn from a random generator."""

import numpy as np

from datasets.frame import Condition
from datasets.world import furniture, vehicles
from datasets.world.ground_mesh import ground
from datasets.world.motion import Motion
from datasets.world.scene import Actor, Scene
from datasets.world.solids import pack
from datasets.world.street import Street
from datasets.world.weather import draw_weather

EGO_START_M = 60.0
VIEW_M = 210.0  # how far the street goes on beyond the end of the drive
EGO_GAP_M = 14.0  # free road before and behind the ego vehicle


def draw_scene(
    rng: np.random.Generator, duration_s: float, condition: Condition = Condition.CLEAR
) -> Scene:
    """A scene whose street is long enough for a drive of that many seconds.

    The weather has a generator of its own: under another condition the same place and traffic.
    """
    weather = draw_weather(rng.spawn(1)[0], condition)
    speed = float(rng.uniform(4.5, 10.5))
    street = _street(rng, EGO_START_M + speed * 1.3 * duration_s + VIEW_M)
    ego = Motion(
        street=street,
        s_start_m=street.s_at_m(EGO_START_M),
        speed_mps=speed,
        lane_d_m=-street.lane_m / 2,
        sway_mps=float(rng.uniform(0.3, 1.4)),
        sway_period_s=float(rng.uniform(6, 12)),
        sway_phase_rad=float(rng.uniform(0, 2 * np.pi)),
        drift_m=float(rng.uniform(0.05, 0.3)),
        drift_period_s=float(rng.uniform(7, 12)),
    )
    static = pack([*ground(street), *furniture.draw(rng, street)])
    traffic = (*_parked(rng, street), *_moving(rng, street, ego))
    return Scene(
        street=street,
        static=static,
        actors=traffic,
        ego=ego,
        lamps=(),
        ego_lamps=(),
        weather=weather,
        description=f"{weather.words}, {_describe(street, traffic)}",
    )


def _street(rng: np.random.Generator, length_m: float) -> Street:
    return Street(
        amplitude_m=float(rng.choice([1.0, 5.0, 9.0, 12.0])),
        wavelength_m=float(rng.uniform(330, 480)),
        phase_rad=float(rng.uniform(0, 2 * np.pi)),
        length_m=length_m,
        lane_m=float(rng.uniform(3.2, 3.7)),
        parking_m=float(rng.uniform(2.1, 2.5)),
        pavement_m=float(rng.uniform(2.6, 4.0)),
        setback_m=float(rng.choice([0.6, 2.5, 4.5])),
        marking=(0.62, 0.62, 0.60) if rng.random() < 0.6 else (0.60, 0.40, 0.06),
    )


def _parked(rng: np.random.Generator, street: Street) -> list[Actor]:
    """Cars along both kerbs, at gaps that differ, some places empty."""
    found = []
    for side in (-1, 1):
        x = float(rng.uniform(8, 14))
        fill = float(rng.uniform(0.35, 0.8))
        while x < street.length_m:
            model, paint = vehicles.pick(rng, large=0.10)
            x += model.length_m / 2
            d = side * (street.half_road_m - 0.25 - model.width_m / 2 + float(rng.normal(0, 0.05)))
            motion = Motion(street=street, s_start_m=street.s_at_m(x), speed_mps=0, lane_d_m=d)
            if rng.random() < fill:
                found.append(_vehicle(rng, model, paint, motion))
            x += model.length_m / 2 + float(rng.uniform(0.8, 2.5))
    return found


def _moving(rng: np.random.Generator, street: Street, ego: Motion) -> list[Actor]:
    """Oncoming traffic, one vehicle ahead of the ego vehicle and one behind it."""
    found = []
    speed = float(rng.uniform(6, 11))
    way = ego.s_start_m - 20.0
    while (way := way + float(rng.uniform(18, 55))) < street.s_at_m(street.length_m):
        model, paint = vehicles.pick(rng, large=0.2)
        motion = Motion(
            street=street, s_start_m=way, speed_mps=-speed, lane_d_m=street.lane_m / 2, drift_m=0.1
        )
        found.append(_vehicle(rng, model, paint, motion))
    for gap in (float(rng.uniform(EGO_GAP_M, 45)), -float(rng.uniform(EGO_GAP_M, 30))):
        model, paint = vehicles.pick(rng, large=0.25)
        motion = Motion(
            street=street,
            s_start_m=ego.s_start_m + gap,
            speed_mps=ego.speed_mps,
            lane_d_m=ego.lane_d_m,
            sway_mps=ego.sway_mps * 0.8,
            sway_period_s=ego.sway_period_s,
            sway_phase_rad=ego.sway_phase_rad - 0.4,
            drift_m=0.15,
        )
        found.append(_vehicle(rng, model, paint, motion))
    return found


def _vehicle(
    rng: np.random.Generator,
    model: vehicles.Model,
    paint: tuple[float, float, float],
    motion: Motion,
) -> Actor:
    solids = vehicles.build(model, paint, seed=int(rng.integers(1 << 16)))
    size = (model.length_m, model.width_m, model.height_m)
    return Actor(category=model.category, size_m=size, solids=solids, motion=motion)


def _describe(street: Street, traffic: tuple[Actor, ...]) -> str:
    """Words in nuScenes' manner."""
    course = "straight street" if street.amplitude_m < 3 else "winding street"
    parked = sum(v.motion.speed_mps == 0 for v in traffic)
    words = [course, "parked cars" if parked > 20 else "few parked cars"]
    words += ["oncoming traffic", "trees", "houses close to the road"]
    if street.setback_m > 2:
        words[-1] = "front gardens"
    if any(v.category == vehicles.TRUCK.category for v in traffic):
        words.append("truck")
    return ", ".join(words)
