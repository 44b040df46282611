"""Lamps: street lamps, headlights, tail lights and lit windows as point sources."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

CUT_OFF_SHARE = 0.025  # intensity of a dipped beam above its edge: 500 of 20,000 cd (UN ECE R112)
CUT_OFF_RAD, EDGE_RAD = 0.004, 0.012  # height of the edge above the axis, and its softness
BEAM_DEPTH_RAD = 0.09  # angle below the axis at which a dipped beam has half its intensity
NADIR_SHARE = 0.3  # intensity of a street lamp straight down: most of it goes along the street


@dataclass(frozen=True, slots=True, kw_only=True)
class Lamp:
    """Point light source: E = I cos(incidence) / d^2, in lux, within its cone."""

    place_m: tuple[float, float, float]
    intensity_cd: float  # along its axis; for a street lamp, the maximum
    colour: tuple[float, float, float]  # linear RGB of mean 1
    axis: tuple[float, float, float] = (0.0, 0.0, -1.0)  # unit
    half_angle_deg: float = 180.0  # angle of half intensity; 180 = the same in all directions
    radius_m: float = 0.1  # of the bright disc that a camera sees
    kind: str = "street"  # "street" | "window" | "head" | "tail" | "signal"

    def moved(self, T_world_body: np.ndarray) -> "Lamp":
        """Transform the lamp by a body's pose (4, 4) in the world."""
        R, t = T_world_body[:3, :3], T_world_body[:3, 3]
        place = R @ np.array(self.place_m) + t
        axis = R @ np.array(self.axis)
        return replace(self, place_m=tuple(place.tolist()), axis=tuple(axis.tolist()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Lamps:
    """Arrays of L lamps, float32."""

    place_m: np.ndarray  # (L, 3)
    axis: np.ndarray  # (L, 3)
    intensity_cd: np.ndarray  # (L,)
    colour: np.ndarray  # (L, 3)
    narrow: np.ndarray  # (L,) 1 / (1 - cos of the half angle), 0 = all directions
    radius_m: np.ndarray  # (L,)
    is_head: np.ndarray  # (L,) bool
    is_street: np.ndarray  # (L,) bool

    def __len__(self) -> int:
        return len(self.place_m)

    def take(self, index: np.ndarray) -> "Lamps":
        """Select the lamps at `index`."""
        fields = self.__dataclass_fields__
        return Lamps(**{name: getattr(self, name)[index] for name in fields})

    def intensity_towards(self, index: np.ndarray, away: np.ndarray) -> np.ndarray:
        """Candela (...) of the lamps at `index` (...) along unit vectors (3, ...) from them.

        Cones fall off as 2^-((1 - cos a) / (1 - cos half)). Street lamps are flatter, and dimmer
        straight down. Dipped headlights are cut off above their axis and strongest just below it.
        """
        axis = self.axis[index]  # (..., 3)
        along = axis[..., 0] * away[0] + axis[..., 1] * away[1] + axis[..., 2] * away[2]
        wide = (1 - along) * self.narrow[index]
        street, head = self.is_street[index], self.is_head[index]
        share = np.exp2(-np.where(street, wide * wide, wide))
        batwing = NADIR_SHARE + (1 - NADIR_SHARE) * np.minimum(2 * wide, 1)
        lift = away[2] - axis[..., 2]
        dark = np.clip((lift - np.float32(CUT_OFF_RAD)) / np.float32(EDGE_RAD), 0, 1)
        below = np.minimum(lift, 0) / np.float32(BEAM_DEPTH_RAD)
        beam = (1 - (1 - np.float32(CUT_OFF_SHARE)) * dark) * np.exp2(-below * below)
        share = share * np.where(street, batwing, 1) * np.where(head, beam, 1)
        return self.intensity_cd[index] * share.astype(np.float32)


def as_arrays(lamps: Sequence[Lamp]) -> Lamps:
    """Convert lamps to arrays, in order."""
    half = np.radians([lamp.half_angle_deg for lamp in lamps])
    narrow = np.where(half > 3.14, 0.0, 1 / np.maximum(1 - np.cos(half), 1e-6))
    return Lamps(
        place_m=np.array([lamp.place_m for lamp in lamps], np.float32).reshape(-1, 3),
        axis=np.array([lamp.axis for lamp in lamps], np.float32).reshape(-1, 3),
        intensity_cd=np.array([lamp.intensity_cd for lamp in lamps], np.float32),
        colour=np.array([lamp.colour for lamp in lamps], np.float32).reshape(-1, 3),
        narrow=narrow.astype(np.float32),
        radius_m=np.array([lamp.radius_m for lamp in lamps], np.float32),
        is_head=np.array([lamp.kind == "head" for lamp in lamps], bool),
        is_street=np.array([lamp.kind == "street" for lamp in lamps], bool) & (half < 3.14),
    )
