"""Scene descriptions in the style of nuScenes."""

from collections.abc import Sequence

from nightrain.datasets.world.scene.scene import Actor
from nightrain.datasets.world.street.places import Place

_THEMES = {
    "canyon": "shops",
    "residential": "residential",
    "park": "park",
    "avenue": "wide street",
    "industrial": "warehouses",
    "mixed": "street",
}
_EVENTS = {"stop": "wait at intersection", "left": "turn left", "right": "turn right"}


def words(place: Place, actors: Sequence[Actor]) -> str:
    """Describe a scene: "Shops, parked cars, many peds, bus, turn right, intersection"."""
    found = [_THEMES[place.theme]]
    parked = sum(a.category == "vehicle.car" and a.is_parked for a in actors)
    found += ["parked cars"] if parked > 12 else ["few parked cars"] if parked else []
    peds = sum(a.category.startswith("human.") for a in actors)
    found += ["many peds"] if peds > 12 else ["peds"] if peds > 1 else []
    names = {"vehicle.bus.rigid": "bus", "vehicle.truck": "truck", "vehicle.bicycle": "bicycles",
             "vehicle.motorcycle": "motorcycle", "movable_object.trafficcone": "cones",
             "movable_object.barrier": "barriers"}  # fmt: skip
    held = {a.category for a in actors}
    found += [word for category, word in names.items() if category in held]
    if place.street.amplitude_m > 3:
        found.append("winding street")
    if place.overpass_m is not None or place.street.river_m[1] > 0:
        found.append("bridge")
    if place.journey.event in _EVENTS:
        found.append(_EVENTS[place.journey.event])
    if place.street.cross:
        found.append("intersection")
    return ", ".join(found)
