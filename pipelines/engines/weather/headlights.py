"""The car's own low beams: two lamps with a cut-off, falling off with distance squared."""

import numpy as np

from pipelines.engines.weather.filters import dot, smoothstep

MOUNT_HEIGHT_M = 0.66
HALF_TRACK_M = 0.68
AHEAD_M = 0.6  # of the camera behind the windscreen
HOT_SPOT_CD = 15000.0
FOREGROUND_CD = 1500.0
SPILL_CD = 120.0
STRAY_SHARE = 0.035  # above the cut-off: lights signs, not eyes
CUT_OFF = (0.0, 0.022)  # slope below the horizon over which the beam comes up (ECE R112: 1 %)
KERB_RISE = 0.18  # slope of the cut-off on the kerb side, about 10 degrees


def beam_candela(across: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Luminous intensity in cd of one low beam; slopes across (right) and below the horizon."""
    hot = np.exp(-0.5 * ((across / 0.19) ** 2 + ((below - 0.035) / 0.045) ** 2))
    wide = np.exp(-0.5 * ((across / 0.5) ** 2 + ((below - 0.08) / 0.12) ** 2))
    raised = below + KERB_RISE * np.clip(across, 0, 0.12)
    lit = STRAY_SHARE + (1 - STRAY_SHARE) * smoothstep(raised, *CUT_OFF)
    return (HOT_SPOT_CD * hot + FOREGROUND_CD * wide + SPILL_CD) * lit


def headlight_lux(
    points_m: np.ndarray, lamp_m: np.ndarray, down: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Illuminance in lux (...) facing the lamp at points (3, ...), and unit directions to it.

    E = I / d^2 with the beam's intensity I: the inverse-square law.
    """
    offset = points_m - lamp_m.astype(np.float32).reshape(3, *[1] * (points_m.ndim - 1))
    squared = np.maximum(dot(offset, offset), np.float32(0.25))
    ahead = np.maximum(offset[2], np.float32(0.05))
    below = dot(offset, down.astype(np.float32)) / ahead
    lux = beam_candela(offset[0] / ahead, below) / squared
    lux *= offset[2] > 0.05
    offset *= -1 / np.sqrt(squared)
    return lux, offset


def lamp_positions_m(down: np.ndarray, camera_height_m: float) -> np.ndarray:
    """Where the two lamps sit (2, 3) in camera coordinates, below and ahead of the camera."""
    drop = max(camera_height_m - MOUNT_HEIGHT_M, 0.1)
    middle = down * drop + np.array([0.0, 0.0, AHEAD_M])
    side = np.array([HALF_TRACK_M, 0.0, 0.0])
    return np.stack([middle - side, middle + side])
