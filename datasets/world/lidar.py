"""A 32-beam spinning LiDAR: exact ranges, then noise and losses as a real one has them."""

from dataclasses import dataclass

import numpy as np

from datasets.world import materials
from datasets.world.points import Points, surface_points
from datasets.world.raycast import Caster, Hits
from datasets.world.rig import T_ego_lidar
from datasets.world.scene import Scene
from datasets.world.solids import Surface
from datasets.world.windows import sweep_windows

ELEVATIONS_RAD = np.radians(np.linspace(-30.67, 10.67, 32))
NUM_AZIMUTHS = 1080  # 20 turns a second
MAX_RANGE_M = 90.0
MIN_RANGE_M = 1.0
RANGE_NOISE_M = 0.015
LOSS = 0.02  # share of returns lost anywhere
GLASS_LOSS = 0.6


@dataclass(frozen=True, slots=True)
class Sweep:
    """One turn, taken as if at one instant."""

    points: np.ndarray  # (N, 5) float32: x, y, z in metres in the LiDAR's frame, intensity, ring
    hits_of_vehicle: np.ndarray  # (V,) returns on each vehicle
    visible_share: np.ndarray  # (V,) of the beams that reach a vehicle, those not blocked before


def sweep(
    scene: Scene, t_s: float, rng: np.random.Generator, num_azimuths: int = NUM_AZIMUTHS
) -> Sweep:
    """Scan the scene from the ego vehicle at time t; intensity is 0 to 255, ring 0 the lowest."""
    solids = scene.at(t_s)
    T_world_lidar = scene.ego.pose(t_s) @ T_ego_lidar()
    rays_lidar = beams(num_azimuths)  # (3, 32, A)
    rays = np.tensordot(T_world_lidar[:3, :3], rays_lidar, 1)
    windows = list(
        sweep_windows(solids, np.linalg.inv(T_world_lidar), ELEVATIONS_RAD, num_azimuths)
    )
    caster = Caster(solids)
    hits = caster.cast(T_world_lidar[:3, 3], rays, windows)
    column, ring = np.nonzero(((hits.t > MIN_RANGE_M) & (hits.t < MAX_RANGE_M)).T)  # as it turns
    range_m, row = hits.t[ring, column], hits.row[ring, column]
    world = T_world_lidar[:3, 3:] + rays[:, ring, column] * range_m
    footprint = 0.01 + 0.001 * range_m  # metres: beams widen
    points = surface_points(solids, row, world, rays[:, ring, column], footprint)
    albedo, _ = materials.look(points, solids.surface[row], scene.street)
    kept = rng.random(len(row)) < _return_chance(points, solids.surface[row], range_m)
    noisy_m = range_m + rng.normal(0, RANGE_NOISE_M, len(row))
    intensity = np.clip(albedo.mean(axis=0) * 255 * _facing(points) ** 0.5, 0, 255)
    cloud = np.stack([*(rays_lidar[:, ring, column] * noisy_m), np.rint(intensity), ring], 1)
    owner = solids.owner[row]
    num = len(scene.vehicles)
    return Sweep(
        points=cloud[kept].astype(np.float32),
        hits_of_vehicle=np.bincount(owner[kept & (owner >= 0)], minlength=num),
        visible_share=_visible_share(caster, T_world_lidar[:3, 3], rays, windows, hits, num),
    )


def beams(num_azimuths: int) -> np.ndarray:
    """Unit directions (3, 32, A) in the LiDAR's frame."""
    azimuth = -np.pi + (np.arange(num_azimuths) + 0.5) * (2 * np.pi / num_azimuths)
    elevation, azimuth = np.meshgrid(ELEVATIONS_RAD, azimuth, indexing="ij")
    level = np.cos(elevation)
    return np.stack([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)])


def _facing(points: Points) -> np.ndarray:
    return np.clip(-(points.ray * points.normal).sum(0), 0, 1)


def _return_chance(points: Points, surface: np.ndarray, range_m: np.ndarray) -> np.ndarray:
    """Grazing hits, far hits and glass often send nothing back."""
    grazing = np.clip(_facing(points) / 0.05, 0.15, 1)
    far = 1 - 0.5 * (range_m / MAX_RANGE_M) ** 2
    glass = np.where(surface == Surface.GLASSHOUSE, 1 - GLASS_LOSS, 1.0)
    return (1 - LOSS) * grazing * far * glass


def _visible_share(
    caster: Caster,
    origin_m: np.ndarray,
    rays: np.ndarray,
    windows: list[tuple[int, tuple[slice, slice]]],
    hits: Hits,
    num_vehicles: int,
) -> np.ndarray:
    """For each vehicle, beams that end on it among those that would if it stood alone."""
    owner = caster.solids.owner
    share = np.zeros(num_vehicles)
    for vehicle in range(num_vehicles):
        alone = [w for w in windows if owner[w[0]] == vehicle]
        would = np.zeros(hits.row.shape, bool)
        for solid, index in alone:
            beams = rays[(slice(None), *index)]
            t = caster.intersect(solid, origin_m[:, None], beams.reshape(3, -1))
            would[index] |= (t < MAX_RANGE_M).reshape(beams.shape[1:])
        seen = would & (hits.row >= 0) & (owner[hits.row] == vehicle)
        share[vehicle] = seen.sum() / max(int(would.sum()), 1)
    return share
