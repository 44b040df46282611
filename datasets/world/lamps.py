"""What shines at night: street lamps, headlights, tail lights, lit windows, as point sources."""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Lamp:
    """A small source of light: E = I cos(incidence) / d^2, in lux, within its cone."""

    place_m: tuple[float, float, float]
    intensity_cd: float  # along its axis
    colour: tuple[float, float, float]  # linear RGB of mean 1
    axis: tuple[float, float, float] = (0.0, 0.0, -1.0)  # unit
    half_angle_deg: float = 180.0  # where the intensity has fallen to half; 180 = every way alike
    radius_m: float = 0.1  # of the bright disc that a camera sees
    kind: str = "street"  # "street" | "window" | "head" | "tail" | "signal"

    def moved(self, T_world_body: np.ndarray) -> "Lamp":
        """The lamp of a body that stands at a pose (4, 4) in the world."""
        R, t = T_world_body[:3, :3], T_world_body[:3, 3]
        place = R @ np.array(self.place_m) + t
        axis = R @ np.array(self.axis)
        return replace(self, place_m=tuple(place.tolist()), axis=tuple(axis.tolist()))
