"""Luminance along rays with known hits, seen through the air."""

from dataclasses import dataclass

import numpy as np

from nightrain.datasets.world.render import sky
from nightrain.datasets.world.render.atmosphere import through_air
from nightrain.datasets.world.render.light import Lighting
from nightrain.datasets.world.shapes.points import surface_points
from nightrain.datasets.world.shapes.raycast import Hits


@dataclass(frozen=True, slots=True)
class Traced:
    """Luminance (3, N) in cd/m2 along rays (N,), and the share that the wet ground mirrors."""

    radiance: np.ndarray
    sunlit: np.ndarray
    wet_mirror: np.ndarray
    wet_roughness: np.ndarray


def trace(
    lighting: Lighting,
    eye_m: np.ndarray,
    directions: np.ndarray,
    hits: Hits,
    pixel_rad: float,
    disc: int = 0,
) -> Traced:
    """Trace rays (3, N) with known `hits`, from one eye (3,) or from eyes (3, N)."""
    weather = lighting.weather
    t, row = hits.t.ravel(), hits.row.ravel()
    length = np.sqrt((directions * directions).sum(0))
    rays = directions / length
    num = len(t)
    traced = Traced(
        np.empty((3, num), np.float32),
        np.ones(num, bool),
        np.zeros(num, np.float32),
        np.zeros(num, np.float32),
    )
    empty, solid = np.flatnonzero(row < 0), np.flatnonzero(row >= 0)
    traced.radiance[:, empty] = sky.seen(rays[:, empty], weather, pixel_rad)
    eyes = eye_m[:, None] if eye_m.ndim == 1 else eye_m[:, solid]
    distance_m = t[solid] * length[solid]
    points = surface_points(
        lighting.moment.solids,
        row[solid],
        eyes + directions[:, solid] * t[solid],
        hits.normal.reshape(3, -1)[:, solid],
        rays[:, solid],
        distance_m * pixel_rad,
    )
    shaded = lighting.shade(points, row[solid], disc)
    traced.radiance[:, solid] = through_air(shaded.radiance, weather, distance_m)
    traced.sunlit[solid] = shaded.sunlit
    traced.wet_mirror[solid] = shaded.wet_mirror
    traced.wet_roughness[solid] = shaded.wet_roughness
    return traced
