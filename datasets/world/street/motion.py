"""Motion along paths: way s(t), and pitch and roll of a body on its springs."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nightrain.datasets.world.street.paths import Path
from nightrain.datasets.world.street.street import Hills

PITCH_PER_MPS2 = np.radians(0.22)  # nose-down pitch when braking at 1 m/s2
_SMOOTH_S = 0.4
# Wavelength along the road, metres, and amplitude of the suspension's motion, radians or metres.
_PITCH = ((7.3, 0.0016), (2.9, 0.0010))
_ROLL = ((9.1, 0.0018), (3.7, 0.0011))
_HEAVE = ((8.2, 0.006), (3.1, 0.004))


@dataclass(frozen=True)
class Drive:
    """Speed profile: linear between knots, constant before the first and after the last."""

    times_s: np.ndarray  # (K,) rising
    speeds_mps: np.ndarray  # (K,)

    @cached_property
    def _ways_m(self) -> np.ndarray:
        """Integral of the speed from the first knot to each knot (K,), metres."""
        steps = np.diff(self.times_s) * (self.speeds_mps[1:] + self.speeds_mps[:-1]) / 2
        return np.concatenate([[0.0], np.cumsum(steps)])

    @cached_property
    def _at_zero_m(self) -> float:
        return self._since_first_m(0.0)

    def speed_mps(self, t_s: float) -> float:
        """Speed at time t."""
        return float(np.interp(t_s, self.times_s, self.speeds_mps))

    def way_m(self, t_s: float) -> float:
        """Integral of the speed from time 0 to t, metres."""
        return self._since_first_m(t_s) - self._at_zero_m

    def _since_first_m(self, t_s: float) -> float:
        k = max(int(np.searchsorted(self.times_s, t_s, "right")) - 1, 0)
        since = t_s - float(self.times_s[k])
        return (
            float(self._ways_m[k]) + since * (float(self.speeds_mps[k]) + self.speed_mps(t_s)) / 2
        )


def steady(speed_mps: float) -> Drive:
    """Drive at constant speed; 0 stands still."""
    return Drive(np.zeros(1), np.array([speed_mps]))


@dataclass(frozen=True, kw_only=True)
class Motion:
    """Motion of a body that follows a path over the hills, with drift within its lane."""

    path: Path
    hills: Hills
    start_m: float  # way at time 0
    drive: Drive
    headway_s: float = 0.0  # extra distance ahead, in seconds at the body's mean speed
    lift_m: float = 0.0  # height above the carriageway, such as that of the pavement
    drift_m: float = 0.0
    drift_wave_m: float = 80.0
    drift_phase_rad: float = 0.0
    springs: float = 0.0  # 1: pitches and rolls as a car does; 0: rigid

    def way_m(self, t_s: float) -> float:
        """Way along the path at time t, metres."""
        way = self.start_m + self.drive.way_m(t_s)
        if not self.headway_s:
            return way
        about = self.drive.way_m(t_s + 0.5) - self.drive.way_m(t_s - 0.5)  # mean speed of a second
        return way + self.headway_s * about

    def speed_at_mps(self, t_s: float) -> float:
        """Speed at time t."""
        return self.drive.speed_mps(t_s)

    @property
    def speed_mps(self) -> float:
        """Highest speed at any time; 0 for a body that never moves."""
        return float(np.abs(self.drive.speeds_mps).max())

    def is_still(self) -> bool:
        """Whether the body never moves."""
        return self._is_still

    def pose(self, t_s: float) -> np.ndarray:
        """T_world_body (4, 4) at time t; x forward, y left, z up from the ground, metres."""
        return self._still_pose.copy() if self.is_still() else self._pose(t_s)

    @cached_property
    def _still_pose(self) -> np.ndarray:
        return self._pose(0.0)

    @cached_property
    def _is_still(self) -> bool:
        return not np.any(self.drive.speeds_mps)

    def _pose(self, t_s: float) -> np.ndarray:
        way = self.way_m(t_s)
        x, y, heading = self.path.at(way)
        k = 2 * np.pi / self.drift_wave_m
        side = self.drift_m * float(np.sin(k * way + self.drift_phase_rad))
        x, y = x - side * float(np.sin(heading)), y + side * float(np.cos(heading))
        heading += float(np.arctan(self.drift_m * k * np.cos(k * way + self.drift_phase_rad)))
        T = self.hills.stand(x, y, heading)
        T[2, 3] += self.lift_m
        return T @ self._spring(t_s, way) if self.springs else T

    def _spring(self, t_s: float, way_m: float) -> np.ndarray:
        """Suspension transform (4, 4): the body pitches down when braking and shakes on bumps."""
        before, after = self.speed_at_mps(t_s - _SMOOTH_S), self.speed_at_mps(t_s + _SMOOTH_S)
        dive = -PITCH_PER_MPS2 * (after - before) / (2 * _SMOOTH_S)
        pitch, roll, heave = (
            sum(a * np.sin(2 * np.pi * way_m / w + 1.7 * k) for k, (w, a) in enumerate(waves))
            for waves in (_PITCH, _ROLL, _HEAVE)
        )
        pitch = self.springs * (pitch + dive)  # about y, down positive
        roll = self.springs * roll
        T = np.eye(4)
        T[:3, :3] = _about_y(float(pitch)) @ _about_x(float(roll))
        T[2, 3] = self.springs * heave
        return T


def parked(path: Path, hills: Hills, way_m: float, lift_m: float = 0.0) -> Motion:
    """Motion of a body that stands still at one position along a path."""
    return Motion(path=path, hills=hills, start_m=way_m, drive=steady(0.0), lift_m=lift_m)


def _about_x(angle_rad: float) -> np.ndarray:
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def _about_y(angle_rad: float) -> np.ndarray:
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
