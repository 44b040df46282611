"""A scene: what stands, what moves, where the sun is, and how the ego vehicle drives."""

from dataclasses import dataclass

import numpy as np

from datasets.world.motion import Motion
from datasets.world.solids import Solids, join, moved
from datasets.world.street import Street
from datasets.world.vehicles import Model


@dataclass(frozen=True, kw_only=True)
class Vehicle:
    """A vehicle of a scene, parked or moving."""

    model: Model
    solids: Solids  # in its own coordinates
    motion: Motion


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One street with its traffic under one sky; time runs in seconds from the first keyframe."""

    street: Street
    static: Solids  # row 0 is the ground
    vehicles: tuple[Vehicle, ...]
    ego: Motion
    sun: np.ndarray  # (3,) unit vector towards the sun
    sky_seed: int
    description: str

    def at(self, t_s: float) -> Solids:
        """All solids in the world at time t; vehicle k owns the rows with `owner == k`."""
        bodies = [
            moved(vehicle.solids, vehicle.motion.pose(t_s), owner)
            for owner, vehicle in enumerate(self.vehicles)
        ]
        return join([self.static, *bodies])
