"""Low beams of the ego car: two lamps with a cut-off (docs/papers/weather.md, eq. 14)."""

from dataclasses import dataclass

import numpy as np

from nightrain.pipelines.engines.weather.optics.filters import dot, smoothstep

MOUNT_HEIGHT_M = 0.66
HALF_TRACK_M = 0.68
AHEAD_M = 0.6  # the lamps' distance ahead of a camera behind the windscreen
AHEAD_OF_AXLE_M = 3.2  # a compact car's lamps, ahead of the rear axle
HOT_SPOT_CD = 15000.0
FOREGROUND_CD = 1500.0
SPILL_CD = 120.0
STRAY_SHARE = 0.035  # above the cut-off: lights signs, not eyes
CUT_OFF = (0.0, 0.022)  # slope below the horizon over which the beam fades in (ECE R112: 1 %)
KERB_RISE = 0.18  # slope of the cut-off on the kerb side, about 10 degrees


def beam_candela(across: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Luminous intensity in cd of one low beam; slopes across (right) and below the horizon."""
    hot = np.exp(-0.5 * ((across / 0.19) ** 2 + ((below - 0.035) / 0.045) ** 2))
    wide = np.exp(-0.5 * ((across / 0.5) ** 2 + ((below - 0.08) / 0.12) ** 2))
    raised = below + KERB_RISE * np.clip(across, 0, 0.12)
    lit = STRAY_SHARE + (1 - STRAY_SHARE) * smoothstep(raised, *CUT_OFF)
    return (HOT_SPOT_CD * hot + FOREGROUND_CD * wide + SPILL_CD) * lit


@dataclass(frozen=True, slots=True)
class OwnCar:
    """Ego car in camera coordinates: its axes and the positions of its two low beams."""

    forward: np.ndarray  # (3,) float32, unit
    right: np.ndarray  # (3,) float32, unit
    lamps_m: np.ndarray  # (2, 3) float64


def own_car(T_ego_camera: np.ndarray | None, down: np.ndarray, camera_height_m: float) -> OwnCar:
    """Return the car of a camera with a known mounting (4, 4), or of one that looks ahead.

    The ego frame has x ahead, y left, z up, its origin on the road below the rear axle.
    """
    if T_ego_camera is None:
        drop = max(camera_height_m - MOUNT_HEIGHT_M, 0.1)
        middle = down * drop + np.array([0.0, 0.0, AHEAD_M])
        right, forward = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0])
        return OwnCar(_unit(forward), _unit(right), _pair(middle, right))
    to_camera = T_ego_camera[:3, :3].T
    right = -to_camera[:, 1]
    mount_m = np.array([AHEAD_OF_AXLE_M, 0.0, MOUNT_HEIGHT_M])
    middle = to_camera @ (mount_m - T_ego_camera[:3, 3])
    return OwnCar(_unit(to_camera[:, 0]), _unit(right), _pair(middle, right))


def headlight_lux(
    points_m: np.ndarray, lamp_m: np.ndarray, down: np.ndarray, car: OwnCar
) -> tuple[np.ndarray, np.ndarray]:
    """Illuminance in lux (...) facing the lamp at points (3, ...), and unit directions to it.

    E = I / d^2 with the beam's intensity I: the inverse-square law.
    """
    offset = points_m - lamp_m.astype(np.float32).reshape(3, *[1] * (points_m.ndim - 1))
    squared = np.maximum(dot(offset, offset), np.float32(0.25))
    along = dot(offset, car.forward)
    ahead = np.maximum(along, np.float32(0.05))
    below = dot(offset, down.astype(np.float32)) / ahead
    lux = beam_candela(dot(offset, car.right) / ahead, below) / squared
    lux *= along > 0.05
    offset *= -1 / np.sqrt(squared)
    return lux, offset


def _unit(vector: np.ndarray) -> np.ndarray:
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def _pair(middle_m: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.stack([middle_m - HALF_TRACK_M * right, middle_m + HALF_TRACK_M * right])
