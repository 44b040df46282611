"""Scene layout: a scene drawn from a random generator."""

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.world.objects import (
    bridges,
    buildings,
    furniture,
    gardens,
    rivers,
    signs,
    vehicles,
)
from nightrain.datasets.world.objects.street_lamps import ego_lamps
from nightrain.datasets.world.objects.trees import Grove
from nightrain.datasets.world.scene import crowd, describe, shop_lamps, traffic
from nightrain.datasets.world.scene.clearance import without_collisions
from nightrain.datasets.world.scene.scene import Actor, Scene
from nightrain.datasets.world.scene.weather import draw_weather
from nightrain.datasets.world.shapes.lamps import Lamp
from nightrain.datasets.world.shapes.solids import Solid, pack
from nightrain.datasets.world.street import journeys, places
from nightrain.datasets.world.street.ground_mesh import ground
from nightrain.datasets.world.street.motion import Motion
from nightrain.datasets.world.street.places import Place

EGO_BOX_M = (traffic.EGO_LENGTH_M, 1.9, traffic.EGO_MIDDLE_M)


def draw_scene(
    rng: np.random.Generator, duration_s: float, condition: Condition = Condition.CLEAR
) -> Scene:
    """Draw a scene whose street is long enough for a drive of `duration_s` seconds.

    The weather has its own generator, so another condition has the same place and traffic.
    """
    weather = draw_weather(rng.spawn(1)[0], condition)
    place = places.draw_place(rng, duration_s)
    lighting = furniture.LampPosts(rng)
    ego, actors = _moving(rng, place, duration_s)
    drive_m = np.array([ego.pose(t)[:2, 3] for t in np.linspace(0.0, duration_s, 24)])
    solids, lamps = _static(rng, place, lighting, drive_m)
    return Scene(
        street=place.street,
        static=pack(solids),
        actors=tuple(actors),
        ego=ego,
        lamps=tuple(lamps),
        ego_lamps=ego_lamps(),
        weather=weather,
        description=f"{weather.words}, {describe.words(place, actors)}",
    )


def _static(
    rng: np.random.Generator, place: Place, lighting: furniture.LampPosts, drive_m: np.ndarray
) -> tuple[list[Solid], list[Lamp]]:
    """Static solids, the ground first, and their lamps."""
    street = place.street
    solids = [*ground(street)]
    lamps: list[Lamp] = []
    grove = Grove(rng, place.autumn, drive_m)
    for one in place.streets:
        houses = list(buildings.draw(rng, one, main=one is street))
        lamps += [*shop_lamps.window_lamps(one, houses), *furniture.street_lamps(one, lighting)]
        solids += houses
        solids += gardens.draw(rng, one, grove)
        solids += furniture.draw(rng, one, lighting)
        solids += signs.draw(rng, one)
        solids += buildings.ends(rng, one)
        if street.cross:
            green = (one is street) == (place.journey.event != "stop")
            solids += signs.signals(one, green)
            lamps += signs.signal_lamps(one, green)
    if place.overpass_m is not None:
        half_x = float(rng.uniform(3.5, 9.0))
        solids = bridges.cleared(solids, street, place.overpass_m, half_x)
        solids += bridges.overpass(rng, street, place.overpass_m, half_x)
    low, high = street.river_m
    if high > low:
        solids = bridges.cleared(solids, street, (low + high) / 2, (high - low) / 2)
        solids += [*rivers.river(rng, street), *bridges.railings(street, low, high)]
    return solids, lamps


def _moving(
    rng: np.random.Generator, place: Place, duration_s: float
) -> tuple[Motion, list[Actor]]:
    """Motion of the ego vehicle, and the actors that stay clear of it."""
    street, journey = place.street, place.journey
    lead = vehicles.pick(rng, 0.2) if rng.random() < 0.65 else None
    gap = float(rng.uniform(1.5, 3.0) if journey.event == "stop" else rng.uniform(3, 28))
    short = lead.size_m[0] + gap if lead and journey.event == "stop" else 0.0
    ego = journeys.ego_motion(rng, street, journey, places.EGO_START_M, duration_s, short)
    actors: list[Actor] = [*traffic.convoy(rng, street, ego, lead, gap)]
    for one in place.streets:
        actors += traffic.at_kerb(rng, one, place.parked)
    actors += traffic.crossing(rng, street, journey, duration_s)
    actors += traffic.oncoming(rng, street, journey, ego)
    actors += traffic.same_way(rng, street, ego)
    actors += crowd.draw(rng, place, ego, duration_s)
    return ego, without_collisions(ego, EGO_BOX_M, actors, duration_s)
