"""A scene: what stands, what moves, what shines, the weather, and how the ego vehicle drives."""

from dataclasses import dataclass
from functools import cached_property

from datasets.world.lamps import Lamp
from datasets.world.motion import Motion
from datasets.world.raycast import Caster, Geometry
from datasets.world.solids import Solids, join, join_rows, moved
from datasets.world.street import Street
from datasets.world.weather import Weather


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Somebody or something that has a place of its own: a vehicle, a pedestrian, a cyclist."""

    category: str  # nuScenes' name, such as "vehicle.car"
    size_m: tuple[float, float, float]  # length, width, height
    solids: Solids  # in its own coordinates: x forward, y left, z up from the ground amidships
    motion: Motion
    lamps: tuple[Lamp, ...] = ()  # in its own coordinates

    def at(self, t_s: float) -> Solids:
        """Its solids in its own coordinates at time t; the rows are the same at all times."""
        return self.solids


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One place with its traffic under one weather; seconds count from the first keyframe."""

    street: Street
    static: Solids
    actors: tuple[Actor, ...]
    ego: Motion
    lamps: tuple[Lamp, ...]  # those that stand still, in the world
    ego_lamps: tuple[Lamp, ...]  # the ego vehicle's own headlights, in its coordinates
    weather: Weather
    description: str

    @cached_property
    def static_geometry(self) -> Geometry:
        """The index over what stands still, built once."""
        return Geometry(self.static)

    def at(self, t_s: float) -> "Moment":
        """The scene at time t."""
        bodies = [moved(a.at(t_s), a.motion.pose(t_s), k) for k, a in enumerate(self.actors)]
        moving = join(bodies) if bodies else None
        parts = [self.static, *([moving] if moving else [])]
        geometries = [self.static_geometry, *([Geometry(moving)] if moving else [])]
        return Moment(scene=self, t_s=t_s, solids=join_rows(parts), caster=Caster(geometries))


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A scene at one time: all solids in the world, and rays against them.

    Row k is the same solid at every time of a scene; actor k owns the rows with `owner == k`.
    """

    scene: Scene
    t_s: float
    solids: Solids
    caster: Caster

    def lamps(self) -> list[Lamp]:
        """Every lamp in the world: of the street, of the actors, of the ego vehicle."""
        scene = self.scene
        found = list(scene.lamps)
        for actor in scene.actors:
            T = actor.motion.pose(self.t_s)
            found += [lamp.moved(T) for lamp in actor.lamps]
        T = scene.ego.pose(self.t_s)
        return found + [lamp.moved(T) for lamp in scene.ego_lamps]
