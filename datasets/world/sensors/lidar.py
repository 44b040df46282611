"""Spinning 32-beam LiDAR: exact ranges with realistic noise and losses."""

from dataclasses import dataclass

import numpy as np

from nightrain.datasets.world.render.light import fresnel
from nightrain.datasets.world.scene.scene import Moment, Scene
from nightrain.datasets.world.scene.weather import Weather
from nightrain.datasets.world.sensors import scatter
from nightrain.datasets.world.sensors.rig import T_ego_lidar
from nightrain.datasets.world.shapes.points import Points, surface_points
from nightrain.datasets.world.shapes.solids import Surface
from nightrain.datasets.world.surfaces import materials
from nightrain.datasets.world.surfaces.cover import covered
from nightrain.datasets.world.surfaces.wet_ground import WATER_MIRROR

ELEVATIONS_RAD = np.radians(np.linspace(-30.67, 10.67, 32))
NUM_AZIMUTHS = 1080  # 20 turns a second
MAX_RANGE_M = 90.0
MIN_RANGE_M = 1.0
RANGE_NOISE_M = 0.015
LOSS = 0.02  # share of returns lost at random
GLASS_LOSS = 0.6


@dataclass(frozen=True, slots=True)
class Sweep:
    """One turn of the LiDAR, taken at one instant."""

    points: np.ndarray  # (N, 5) float32: x, y, z in metres in the LiDAR's frame, intensity, ring
    hits_of_actor: np.ndarray  # (A,) returns on each actor
    visible_share: np.ndarray  # (A,) share of an actor's near side that nothing occludes


def sweep(
    scene: Scene, t_s: float, rng: np.random.Generator, num_azimuths: int = NUM_AZIMUTHS
) -> Sweep:
    """Scan the scene from the ego vehicle at time t; intensity is 0 to 255, ring 0 the lowest."""
    moment = scene.at(t_s)
    solids = moment.solids
    T_world_lidar = scene.ego.pose(t_s) @ T_ego_lidar()
    rays_lidar = beams(num_azimuths)  # (3, 32, A)
    rays = np.tensordot(T_world_lidar[:3, :3], rays_lidar, 1)
    hits = moment.caster.cast(T_world_lidar[:3, 3], rays)
    column, ring = np.nonzero(((hits.t > MIN_RANGE_M) & (hits.t < MAX_RANGE_M)).T)  # in scan order
    range_m, row = hits.t[ring, column], hits.row[ring, column]
    world = T_world_lidar[:3, 3:] + rays[:, ring, column] * range_m
    footprint = 0.01 + 0.001 * range_m  # metres: beams widen
    normal = hits.normal[:, ring, column]
    points = surface_points(solids, row, world, normal, rays[:, ring, column], footprint)
    surface = solids.surface[row]
    albedo, wet_mirror = _seen_albedo(scene, points, surface)
    chance = _return_chance(points, surface, range_m)
    chance *= 1 - wet_mirror
    chance *= scatter.found_share(scene.weather, albedo, _facing(points), range_m)
    kept = rng.random(len(row)) < chance
    noisy_m = range_m + rng.normal(0, RANGE_NOISE_M, len(row))
    faded = np.exp(-2 * scatter.extinction_per_m(scene.weather) * range_m)
    intensity = np.clip(albedo * 255 * _facing(points) ** 0.5 * faded, 0, 255)
    cloud = np.stack([*(rays_lidar[:, ring, column] * noisy_m), np.rint(intensity), ring], 1)
    cloud, kept = _with_false_returns(cloud, kept, column, rays_lidar, hits.t, scene.weather, rng)
    owner = solids.owner[row]
    num = len(scene.actors)
    true = kept[: len(row)]
    return Sweep(
        points=cloud[kept].astype(np.float32),
        hits_of_actor=np.bincount(owner[true & (owner >= 0)], minlength=num),
        visible_share=_visible_share(moment, T_world_lidar[:3, 3]),
    )


def _seen_albedo(
    scene: Scene, points: Points, surface: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean albedo (N,) under water and snow, and the share (N,) of a pulse lost on a wet ground.

    At 905 nm, water covers the grains that reflect pulses, and mirrors grazing pulses away.
    """
    look = materials.look(points, surface, scene.street)
    albedo, _, paved, water = covered(look, points, surface, scene)
    if water is None:
        return albedo.mean(axis=0), np.zeros(len(surface))
    lost = np.where(paved, scatter.WET_LOSS * np.maximum(water.film, water.puddle), 0.0)
    grazing = fresnel(WATER_MIRROR, _facing(points)) * water.cover * paved
    return albedo.mean(axis=0), np.clip(lost + (1 - lost) * grazing, 0, 0.98)


def _with_false_returns(
    cloud: np.ndarray,
    kept: np.ndarray,
    column: np.ndarray,
    rays_lidar: np.ndarray,
    t: np.ndarray,
    weather: Weather,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Add false echoes of drops, flakes and fog to the cloud (N, 5).

    A beam has one echo, the strongest, as in most sensors: a false echo replaces the true one.
    """
    if scatter.extinction_per_m(weather) == 0:
        return cloud, kept
    _, num_rings, num_azimuths = rays_lidar.shape
    beam, range_m = scatter.false_ranges(weather, rng, num_rings * num_azimuths)
    ring, azimuth = np.unravel_index(beam, (num_rings, num_azimuths))
    before = range_m < t[ring, azimuth]
    ring, azimuth, range_m = ring[before], azimuth[before], range_m[before]
    taken = np.zeros((num_rings, num_azimuths), bool)
    taken[ring, azimuth] = True
    kept = kept & ~taken[cloud[:, 4].astype(int), column]
    intensity = np.rint(rng.uniform(1, 12, len(range_m)))
    false = np.stack([*(rays_lidar[:, ring, azimuth] * range_m), intensity, ring], 1)
    return np.concatenate([cloud, false]), np.concatenate([kept, np.ones(len(false), bool)])


def beams(num_azimuths: int) -> np.ndarray:
    """Unit directions (3, 32, A) in the LiDAR's frame."""
    azimuth = -np.pi + (np.arange(num_azimuths) + 0.5) * (2 * np.pi / num_azimuths)
    elevation, azimuth = np.meshgrid(ELEVATIONS_RAD, azimuth, indexing="ij")
    level = np.cos(elevation)
    return np.stack([level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)])


def _facing(points: Points) -> np.ndarray:
    return np.clip(-(points.ray * points.normal).sum(0), 0, 1)


def _return_chance(points: Points, surface: np.ndarray, range_m: np.ndarray) -> np.ndarray:
    """Probability of an echo; low for grazing hits, far hits and glass."""
    grazing = np.clip(_facing(points) / 0.05, 0.15, 1)
    far = 1 - 0.5 * (range_m / MAX_RANGE_M) ** 2
    glass = np.where(surface == Surface.GLASSHOUSE, 1 - GLASS_LOSS, 1.0)
    return (1 - LOSS) * grazing * far * glass


def _visible_share(moment: Moment, origin_m: np.ndarray) -> np.ndarray:
    """Share of points on each actor's box that no other solid hides from the LiDAR."""
    unit = np.stack(np.meshgrid(*[np.linspace(-0.4, 0.4, 4)] * 3, indexing="ij")).reshape(3, -1)
    share = np.zeros(len(moment.scene.actors))
    places = np.zeros((len(share), 3, unit.shape[1]))
    for k, actor in enumerate(moment.scene.actors):
        T = actor.motion.pose(moment.t_s)
        centre = np.array([0.0, 0.0, actor.size_m[2] / 2])
        local = unit * np.array(actor.size_m)[:, None] + centre[:, None]
        places[k] = T[:3, :3] @ local + T[:3, 3:]
    near = np.flatnonzero(np.linalg.norm(places.mean(2) - origin_m, axis=1) < MAX_RANGE_M)
    rays = places[near].transpose(1, 0, 2) - origin_m[:, None, None]  # (3, near, 64); t = 1 there
    hits = moment.caster.cast(origin_m, rays)
    owner = np.where(hits.row >= 0, moment.solids.owner[hits.row], -1)
    share[near] = ((hits.t >= 1) | (owner == near[:, None])).mean(axis=1)
    return share
