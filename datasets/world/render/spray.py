"""Spray from a wet road: clouds behind moving wheels."""

import numpy as np

from nightrain.datasets.world.scene.scene import Moment

SLOWEST_MPS = 3.0
DENSEST_PER_M = 0.8  # maximum extinction, behind a car at 15 m/s in heavy rain
TRAIL_S, TRAIL_RISE_M = 0.7, 1.3
RISE_OF_HEIGHT = 0.7  # of buses and lorries, whose spray rises higher
WITHIN_M = 70.0


def thickness(
    moment: Moment, eye_m: np.ndarray, rays: np.ndarray, distance_m: np.ndarray
) -> np.ndarray:
    """Optical thickness (N,) of all spray along unit rays (3, N) up to distances (N,).

    Each cloud is an ellipsoid behind its vehicle and of the same width, densest in the middle.
    """
    weather = moment.scene.weather
    found = np.zeros(rays.shape[1], np.float32)
    strength = weather.wetness * min(0.35 + weather.rain_mm_per_h / 12, 1.0)
    for actor in moment.scene.actors:
        now, soon = (actor.motion.pose(moment.t_s + dt) for dt in (0.0, 0.05))
        speed = float(np.linalg.norm(soon[:3, 3] - now[:3, 3])) / 0.05
        gap_m = float(np.linalg.norm(now[:3, 3] - eye_m))
        if speed < SLOWEST_MPS or gap_m > WITHIN_M or actor.size_m[0] < 3.0:
            continue
        trail_m = 1.5 + TRAIL_S * speed
        rise_m = max(TRAIL_RISE_M, RISE_OF_HEIGHT * actor.size_m[2])
        half = np.array([trail_m, actor.size_m[1] * 0.75, rise_m * 0.6])
        centre = now @ [-actor.size_m[0] / 2 - 0.55 * trail_m, 0.0, 0.35, 1.0]
        density = DENSEST_PER_M * strength * min((speed / 15.0) ** 1.5, 1.5)
        to_unit = (now[:3, :3] / half).T  # world to the unit ball
        found += density * _chord(to_unit @ (eye_m - centre[:3]), to_unit @ rays, distance_m)
    return found


def _chord(start: np.ndarray, rays: np.ndarray, distance_m: np.ndarray) -> np.ndarray:
    """Length (N,) within the unit ball, times 1 - r^2 of the ray's distance r to the centre."""
    a = (rays * rays).sum(0)
    b = (rays * start[:, None]).sum(0) / a
    nearest2 = float(start @ start) - a * b * b
    half = np.sqrt(np.maximum(1 - nearest2, 0) / a)
    enter, leave = np.maximum(-b - half, 0), np.minimum(-b + half, distance_m)
    return (np.maximum(leave - enter, 0) * np.maximum(1 - nearest2, 0)).astype(np.float32)
