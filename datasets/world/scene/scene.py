"""Scene: solids, actors, lamps, weather and the ego vehicle's motion."""

from dataclasses import dataclass, replace
from functools import cached_property

from nightrain.datasets.world.objects.gait import Gait
from nightrain.datasets.world.scene.weather import Weather
from nightrain.datasets.world.shapes.lamps import Lamp
from nightrain.datasets.world.shapes.raycast import Caster, Geometry
from nightrain.datasets.world.shapes.solids import Solids, join, join_rows, moved
from nightrain.datasets.world.street.motion import Motion
from nightrain.datasets.world.street.street import Street


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Vehicle, pedestrian or cyclist with a motion of its own."""

    category: str  # nuScenes' name, such as "vehicle.car"
    size_m: tuple[float, float, float]  # length, width, height
    solids: Solids  # local coordinates: x forward, y left, z up from the ground amidships
    motion: Motion
    lamps: tuple[Lamp, ...] = ()  # local coordinates
    gait: Gait | None = None  # of a walking person
    in_traffic: bool = False  # stands still only temporarily
    has_rider: bool = False  # for a bicycle or motorcycle

    def at(self, t_s: float) -> Solids:
        """Solids in local coordinates at time t; the rows are the same at all times."""
        return self.gait.pose(self.solids, self.motion.way_m(t_s)) if self.gait else self.solids

    def is_moving(self, t_s: float) -> bool:
        """Whether the actor moves at time t."""
        return abs(self.motion.speed_at_mps(t_s)) > 0.05

    @property
    def is_parked(self) -> bool:
        """Whether the actor stands still for longer than the scene."""
        return self.motion.is_still() and not self.in_traffic


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One place with its traffic in one weather; times are seconds from the first keyframe."""

    street: Street
    static: Solids
    actors: tuple[Actor, ...]
    ego: Motion
    lamps: tuple[Lamp, ...]  # stationary lamps, world coordinates
    ego_lamps: tuple[Lamp, ...]  # the ego vehicle's headlights, in its coordinates
    weather: Weather
    description: str

    @cached_property
    def static_geometry(self) -> Geometry:
        """Index over the static solids, built once."""
        return Geometry(self.static)

    @cached_property
    def still_geometry(self) -> Geometry | None:
        """Index over the actors that never move, built once."""
        bodies = self._bodies(0.0, still=True)
        return Geometry(join(bodies)) if bodies else None

    def under(self, weather: Weather) -> "Scene":
        """The same place and traffic under another weather, sharing the indices of its solids."""
        other = replace(self, weather=weather)
        other.__dict__["static_geometry"] = self.static_geometry
        other.__dict__["still_geometry"] = self.still_geometry
        return other

    def at(self, t_s: float) -> "Moment":
        """Scene at time t: rows of static solids, of still actors, then of moving ones."""
        bodies = self._bodies(t_s, still=False)
        moving = Geometry(join(bodies)) if bodies else None
        found = [g for g in (self.static_geometry, self.still_geometry, moving) if g]
        rows = join_rows([g.solids for g in found])
        return Moment(scene=self, t_s=t_s, solids=rows, caster=Caster(found))

    def _bodies(self, t_s: float, *, still: bool) -> list[Solids]:
        """Pack the actors that never move, or the moving ones, in world coordinates."""
        return [
            moved(a.at(t_s), a.motion.pose(t_s), k)
            for k, a in enumerate(self.actors)
            if a.motion.is_still() == still
        ]


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
        """All lamps in the world: of the street, the actors and the ego vehicle."""
        scene = self.scene
        found = list(scene.lamps)
        for actor in scene.actors:
            T = actor.motion.pose(self.t_s)
            found += [lamp.moved(T) for lamp in actor.lamps]
        T = scene.ego.pose(self.t_s)
        return found + [lamp.moved(T) for lamp in scene.ego_lamps]
