"""Paths of vehicles and people: lanes, turns at junctions, crossings of the road."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nightrain.datasets.world.street.street import Street

_STEP_M = 0.2


@dataclass(frozen=True, slots=True)
class Path:
    """Path sampled by distance: positions and headings in small steps; straight past both ends."""

    way_m: np.ndarray  # (K,) distance along the path, rising
    xy_m: np.ndarray  # (K, 2)
    heading_rad: np.ndarray  # (K,) unwrapped

    @property
    def length_m(self) -> float:
        """Length of the path in metres."""
        return float(self.way_m[-1])

    def at(self, way_m: float) -> tuple[float, float, float]:
        """World x, y and heading at a distance along the path, metres and radians."""
        inside = min(max(way_m, float(self.way_m[0])), float(self.way_m[-1]))
        heading = float(np.interp(inside, self.way_m, self.heading_rad))
        x, y = (float(np.interp(inside, self.way_m, self.xy_m[:, k])) for k in (0, 1))
        beyond = way_m - inside
        return x + beyond * float(np.cos(heading)), y + beyond * float(np.sin(heading)), heading

    def nearest_way_m(self, x_m: float, y_m: float) -> float:
        """Distance along the path of the sample nearest to a position, metres."""
        gap = self.xy_m - (x_m, y_m)
        return float(self.way_m[np.argmin((gap * gap).sum(1))])


def lane(street: Street, d_m: float, start_x_m: float, end_x_m: float) -> Path:
    """Path at offset d along a street from one x to another; reversed if the end is lower."""
    count = max(round(abs(end_x_m - start_x_m) / _STEP_M), 1) + 1
    x = np.linspace(start_x_m, end_x_m, count)
    heading = street.heading_rad(x) + (np.pi if end_x_m < start_x_m else 0.0)
    return _path(street.points_m(x, d_m).T, heading)


def straight(start_m: tuple[float, float], end_m: tuple[float, float]) -> Path:
    """Straight path between two positions."""
    gap = np.subtract(end_m, start_m)
    heading = float(np.arctan2(gap[1], gap[0]))
    return _path(np.array([start_m, end_m], np.float64), np.full(2, heading))


def turn(
    start_m: tuple[float, float], heading_rad: float, angle_rad: float, reach_m: float
) -> Path:
    """Bend by an angle with smoothly rising and falling curvature, `reach_m` forwards.

    The heading follows 3 u^2 - 2 u^3 over the path, so that the steering angle is continuous.
    """
    u = np.linspace(0, 1, 161)
    bend = angle_rad * u * u * (3 - 2 * u)
    middle = (bend[1:] + bend[:-1]) / 2
    unit = np.stack([np.cos(middle), np.sin(middle)], 1) / (len(u) - 1)
    shape = np.concatenate([[[0.0, 0.0]], np.cumsum(unit, 0)])  # of length 1
    shape *= reach_m / shape[-1, 0]
    c, s = np.cos(heading_rad), np.sin(heading_rad)
    return _path(shape @ np.array([[c, s], [-s, c]]) + start_m, heading_rad + bend)


def join(paths: Sequence[Path]) -> Path:
    """Concatenate paths; each starts where the previous one ends."""
    xy = np.concatenate([paths[0].xy_m, *(p.xy_m[1:] for p in paths[1:])])
    heading = [paths[0].heading_rad]
    for p in paths[1:]:
        jump = heading[-1][-1] - p.heading_rad[0]
        heading.append(p.heading_rad[1:] + np.rint(jump / (2 * np.pi)) * 2 * np.pi)
    return _path(xy, np.concatenate(heading))


def _path(xy_m: np.ndarray, heading_rad: np.ndarray) -> Path:
    steps = np.linalg.norm(np.diff(xy_m, axis=0), axis=1)
    return Path(np.concatenate([[0.0], np.cumsum(steps)]), xy_m, heading_rad)
