"""LiDAR sensors: what a sweep of each one looks like, so that a file of another layout is refused.

A file of points has no header: a file with other columns, another type or unit, or of another
sensor decodes without an error and gives wrong depth. Its content shows it: reflectances, lasers,
ranges and elevations have bounds that follow from the sensor, and near the car lies a road.
"""

from dataclasses import dataclass, replace

import numpy as np

MIN_POINTS = 30  # statistics of fewer points show nothing
FAR_M = 5.0  # beyond it, the car's motion during a turn hardly changes an elevation
SAMPLED_POINTS = 8192  # spread over the sweep
ORDERED_POINTS = 16384  # its first ones, in order
MAX_STRAY_SHARE = 0.1  # of the points far enough away; echoes of drops and reflections
WRONG_TURN_SHARE = 0.8
LASER_TOLERANCE_DEG = 4.0  # at 30 m/s, the car moves 1.5 m during a turn
MAX_LASER_STEP = 6  # lasers fire one after another; a few in a row may get no echo
LOW_DEG = -3.0  # of the points beyond FAR_M, 39 % to 74 % are below it in the sweeps tried
ROAD_DEG = -15.0  # lasers below it hit the road around the car


@dataclass(frozen=True, slots=True)
class Column:
    """A column after x, y, z: its bounds, and whether it has whole numbers only."""

    name: str
    low: float
    high: float
    whole: bool = False

    def __str__(self) -> str:
        kind = "whole numbers" if self.whole else "values"
        return f"{self.name}: {kind} from {self.low:g} to {self.high:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LidarSensor:
    """Spinning LiDAR, and the layout of its files: float32, little-endian, x, y, z in metres first.

    `turn` is the direction in which the points of a file run around the sensor, seen from above:
    +1 counter-clockwise, -1 clockwise, 0 unknown. It tells a mirrored file: in one with x and y
    swapped, all else is plausible.
    """

    name: str
    columns: tuple[Column, ...]
    max_range_m: float
    median_range_m: tuple[float, float]
    elevation_deg: tuple[float, float]  # of points beyond FAR_M
    road_range_m: tuple[float, float]  # bounds on the median range of lasers below ROAD_DEG
    min_low_share: float = 0.15  # of the points beyond FAR_M, below LOW_DEG
    turn: int = 0
    laser_elevation_deg: tuple[float, float] | None = None  # of the first and last of even lasers

    @property
    def values_per_point(self) -> int:
        """Number of values in a file for each point."""
        return 3 + len(self.columns)

    @property
    def layout(self) -> str:
        """Layout of the files, in words."""
        columns = "; ".join(("x, y, z in metres", *map(str, self.columns)))
        return f"{self.values_per_point} little-endian float32 per point of {self.name} ({columns})"

    def problem(self, points: np.ndarray) -> str:
        """What makes points (N, values) implausible for this sensor; "" if nothing does."""
        if not np.isfinite(points).all():
            bad = int(np.count_nonzero(~np.isfinite(points).all(axis=1)))
            return f"{bad} of {len(points)} points are not finite numbers"
        for number, column in enumerate(self.columns, start=4):
            if problem := _column_problem(points[:, number - 1], column, number):
                return problem
        range_m = _lengths(points[:, :3])
        if beyond := int(np.count_nonzero(range_m > self.max_range_m)):
            return (
                f"{beyond} of {len(points)} points are more than {self.max_range_m:g} m away, the "
                f"farthest {range_m.max():.4g} m"
            )
        return self._shape_problem(points, range_m)

    def _shape_problem(self, points: np.ndarray, range_m: np.ndarray) -> str:
        if len(points) < MIN_POINTS:
            return ""
        low_m, high_m = self.median_range_m
        median_m = float(np.median(range_m[:: len(points) // SAMPLED_POINTS + 1]))
        if not low_m <= median_m <= high_m:
            return f"half of the points are within {median_m:.3g} m, not {low_m:g} to {high_m:g} m"
        return (
            self._elevation_problem(points, range_m)
            or self._road_problem(points, range_m)
            or self._turn_problem(points, range_m)
        )

    def _elevation_problem(self, points: np.ndarray, range_m: np.ndarray) -> str:
        few = slice(None, None, len(points) // SAMPLED_POINTS + 1)
        far = points[few][range_m[few] > FAR_M]
        if len(far) < MIN_POINTS:
            return ""
        if np.abs(far[:, :2]).max(axis=0).min() < 3.15:
            return "no point is more than 3.2 m to one side: its columns may be ranges and angles"
        elevation_deg = _elevations_deg(far)
        low_deg, high_deg = self.elevation_deg
        outside = np.mean((elevation_deg < low_deg) | (elevation_deg > high_deg))
        if outside > MAX_STRAY_SHARE:
            return (
                f"{outside:.0%} of the points have elevations outside {low_deg:g} to {high_deg:g} "
                "degrees: its z is not the height"
            )
        if np.mean(elevation_deg < LOW_DEG) < self.min_low_share:
            return f"hardly any point is below {LOW_DEG:g} degrees, where the road is"
        off = np.mean(abs(elevation_deg - self._nominal_deg(far)) > LASER_TOLERANCE_DEG)
        if self.laser_elevation_deg and off > MAX_STRAY_SHARE:
            return f"{off:.0%} of the points are not at the elevation of their laser"
        return ""

    def _nominal_deg(self, points: np.ndarray) -> np.ndarray:
        """Nominal elevation (N,) in degrees of each point's laser, by its last column."""
        if self.laser_elevation_deg is None:
            return np.zeros(len(points))
        first, last = self.laser_elevation_deg
        return first + points[:, -1] * ((last - first) / self.columns[-1].high)

    def _road_problem(self, points: np.ndarray, range_m: np.ndarray) -> str:
        few = slice(None, None, len(points) // SAMPLED_POINTS + 1)
        below = points[few, 2] < np.sin(np.radians(ROAD_DEG)) * range_m[few]
        if np.count_nonzero(below) < MIN_POINTS:
            return ""
        low_m, high_m = self.road_range_m
        median_m = float(np.median(range_m[few][below]))
        if low_m <= median_m <= high_m:
            return ""
        return (
            f"the points more than {-ROAD_DEG:g} degrees below the horizon are {median_m:.3g} m "
            f"away; the road is {low_m:g} to {high_m:g} m away there"
        )

    def _turn_problem(self, points: np.ndarray, range_m: np.ndarray) -> str:
        if not self.turn:
            return ""
        x, y = self._in_order(points, range_m)
        if len(x) < MIN_POINTS:
            return ""
        wrong = np.mean((x[:-1] * y[1:] - y[:-1] * x[1:]) * self.turn < 0)
        if wrong < WRONG_TURN_SHARE:
            return ""
        return "its points run the wrong way around the sensor: x and y are swapped or mirrored"

    def _in_order(self, points: np.ndarray, range_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """x and y (M,) of consecutive points of one laser, far enough away to have a direction."""
        points, range_m = points[:ORDERED_POINTS], range_m[:ORDERED_POINTS]
        chosen = range_m > FAR_M
        if self.laser_elevation_deg is not None and chosen.any():
            laser = points[:, -1].astype(np.int64)
            steps = np.diff(laser) % (int(self.columns[-1].high) + 1)
            if np.mean(steps <= MAX_LASER_STEP) < 0.5:  # sorted in another way: the order is lost
                return np.zeros(0), np.zeros(0)
            chosen &= laser == np.bincount(laser[chosen]).argmax()
        x, y = points[chosen, :2].T.astype(np.float64)
        return x, y


def _column_problem(values: np.ndarray, column: Column, number: int) -> str:
    bad = (values < column.low) | (values > column.high)
    if column.whole:
        bad |= values != np.rint(values)
    count = int(np.count_nonzero(bad))
    if not count:
        return ""
    example = values[np.argmax(bad)]
    return (
        f"column {number} of {count} of {len(values)} points is not a plausible {column.name}: "
        f"the first is {example:.4g}"
    )


def _lengths(xyz: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # 3e38 m squared is infinite: too far
        return np.sqrt(np.einsum("ij,ij->i", xyz, xyz))


def _elevations_deg(points: np.ndarray) -> np.ndarray:
    return np.degrees(np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1])))


_HDL32E_LASERS = (-30.67, 10.67)

# The HDL-32E's and the HDL-64E's distances have 16 bits of 2 mm: at most 131 m, plus the car's
# motion.
NUSCENES_LIDAR = LidarSensor(
    name="nuScenes' Velodyne HDL-32E",
    columns=(Column("intensity", 0, 255), Column("ring", 0, 31, whole=True)),
    max_range_m=140.0,
    median_range_m=(1.5, 50.0),
    elevation_deg=(-36.0, 16.0),
    road_range_m=(2.0, 10.0),
    turn=-1,
    laser_elevation_deg=_HDL32E_LASERS,
)
WORLD_LIDAR = replace(NUSCENES_LIDAR, name="the built-in world's LiDAR", turn=+1)
KITTI_LIDAR = LidarSensor(
    name="KITTI's Velodyne HDL-64E",
    columns=(Column("reflectance", 0, 1),),
    max_range_m=140.0,
    median_range_m=(1.5, 50.0),
    elevation_deg=(-28.0, 8.0),
    road_range_m=(2.0, 10.0),
    turn=+1,
)
ANY_LIDAR = LidarSensor(  # in nuScenes' layout
    name="any LiDAR",
    columns=(Column("fourth value", -np.inf, np.inf), Column("fifth value", -np.inf, np.inf)),
    max_range_m=1000.0,
    median_range_m=(0.5, 255.0),
    elevation_deg=(-90.0, 90.0),
    min_low_share=0.0,
    road_range_m=(0.0, np.inf),
)
SWEEP = replace(  # what any spinning LiDAR on a car measures, to guess the layout of a file
    ANY_LIDAR,
    columns=(),
    max_range_m=300.0,
    median_range_m=(1.5, 50.0),
    elevation_deg=(-36.0, 16.0),
    min_low_share=0.15,
    road_range_m=(2.0, 10.0),
)
