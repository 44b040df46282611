"""From a scene to a picture with exact depth."""

from dataclasses import dataclass

import numpy as np

from datasets.world import sky
from datasets.world.light import Lighting
from datasets.world.points import surface_points
from datasets.world.raycast import Hits
from datasets.world.scene import Scene

EXPOSURE = 1.05
WHITE = 2.4  # radiance that saturates
# Four places within a pixel, no two in line (rotated grid).
_SUB_PIXELS = ((-0.125, -0.375), (0.375, -0.125), (0.125, 0.375), (-0.375, 0.125))


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A pinhole camera in the world."""

    T_world_camera: np.ndarray  # (4, 4) metres
    intrinsics: np.ndarray  # (3, 3) pixels
    size: tuple[int, int]  # width, height

    def directions(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """World directions (3, ...) through pixels; of z-depth 1, so that t is the z-depth."""
        pixels = np.stack([u, v, np.ones_like(u)])
        return np.tensordot(self.T_world_camera[:3, :3] @ np.linalg.inv(self.intrinsics), pixels, 1)


@dataclass(frozen=True, slots=True)
class Picture:
    """What a camera saw."""

    image: np.ndarray  # (H, W, 3) uint8, sRGB
    depth_m: np.ndarray  # (H, W) float32, z-depth in metres at the pixels' centres, 0 = sky
    row: np.ndarray  # (H, W) int32, row of the solid seen, -1 = sky


def render(scene: Scene, t_s: float, view: View) -> Picture:
    """Render a scene at time t; pixels on outlines and shadow edges are averaged from four rays."""
    lighting = Lighting(scene.at(t_s))
    width, height = view.size
    v, u = np.mgrid[0.0:height, 0.0:width]
    directions = view.directions(u, v)  # (3, H, W)
    hits = lighting.moment.caster.cast(view.T_world_camera[:3, 3], directions)
    radiance, sunlit = _radiance(lighting, view, directions.reshape(3, -1), hits)
    _smooth(lighting, view, _edges(hits.row, sunlit.reshape(height, width)), radiance)
    depth_m = np.where(np.isfinite(hits.t), hits.t, 0.0).astype(np.float32)
    image = _develop(radiance).T.reshape(height, width, 3)
    return Picture(np.ascontiguousarray(image), depth_m, hits.row)


def _radiance(
    lighting: Lighting, view: View, directions: np.ndarray, hits: Hits
) -> tuple[np.ndarray, np.ndarray]:
    """Linear RGB (3, N) along rays (3, N), and whether the sun shines where they end (N,)."""
    t, row = hits.t.ravel(), hits.row.ravel()
    length = np.sqrt((directions * directions).sum(0))
    rays = directions / length
    radiance = np.empty((3, len(t)), np.float32)
    sunlit = np.ones(len(t), bool)
    empty, solid = np.flatnonzero(row < 0), np.flatnonzero(row >= 0)
    pixel_rad = 1 / view.intrinsics[0, 0]
    weather = lighting.moment.scene.weather
    radiance[:, empty] = sky.clear_sky(rays[:, empty], weather.sun, pixel_rad, weather.sky_seed)
    world = view.T_world_camera[:3, 3:] + directions[:, solid] * t[solid]
    distance_m = t[solid] * length[solid]
    normal = hits.normal.reshape(3, -1)[:, solid]
    points = surface_points(
        lighting.moment.solids, row[solid], world, normal, rays[:, solid], t[solid] * pixel_rad
    )
    radiance[:, solid], sunlit[solid] = lighting.shade(points, row[solid], distance_m)
    return radiance, sunlit


def _edges(row: np.ndarray, sunlit: np.ndarray) -> np.ndarray:
    """Pixels (H, W) bool beside a change of solid or of shadow."""
    edge = np.zeros(row.shape, bool)
    for a in (row, sunlit):
        across, down = a[:, 1:] != a[:, :-1], a[1:] != a[:-1]
        edge[:, 1:] |= across
        edge[:, :-1] |= across
        edge[1:] |= down
        edge[:-1] |= down
    return edge


def _smooth(lighting: Lighting, view: View, edges: np.ndarray, radiance: np.ndarray) -> None:
    """Replace the radiance (3, H * W) of pixels on edges by the mean of four rays."""
    v, u = np.nonzero(edges)
    if not len(v):
        return
    shifts = np.array(_SUB_PIXELS)
    directions = view.directions(u + shifts[:, :1], v + shifts[:, 1:])  # (3, 4, N)
    origin = view.T_world_camera[:3, 3]
    rays = directions.transpose(0, 2, 1).reshape(3, -1)  # (3, 4 N), a pixel's four in a row
    hits = lighting.moment.caster.cast(origin, rays)
    colours, _ = _radiance(lighting, view, rays, hits)
    radiance[:, v * view.size[0] + u] = _develop_mean(colours.reshape(3, len(v), len(shifts)))


def _develop_mean(colours: np.ndarray) -> np.ndarray:
    """Mean over the last axis with highlights held back, so that glints do not break outlines."""
    return np.minimum(colours, WHITE).mean(axis=-1)


def _develop(radiance: np.ndarray) -> np.ndarray:
    """Linear radiance to 8-bit sRGB: extended Reinhard 2002 curve, then the sRGB gamma."""
    level = np.clip(radiance * (EXPOSURE * 4095 / (2 * WHITE)), 0, 4095).astype(np.int64)
    return _CURVE[level]


def _curve() -> np.ndarray:
    x = np.arange(4096) * (2 * WHITE / 4095)
    toned = np.clip(x * (1 + x / WHITE**2) / (1 + x) * 1.18, 0, 1)
    encoded = np.where(toned < 0.0031308, 12.92 * toned, 1.055 * toned ** (1 / 2.4) - 0.055)
    return np.rint(encoded * 255).astype(np.uint8)


_CURVE = _curve()
