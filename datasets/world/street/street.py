"""Street geometry: course, cross-section and height; x runs along it, d to the left."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

KERB_HEIGHT_M = 0.13
STREET_Y_M = 250.0  # keeps all coordinates positive, which the map masks need
_STEP_M = 0.25

Kerbside = Literal["shops", "houses", "park", "yards"]


@dataclass(frozen=True, slots=True)
class Hills:
    """Ground height: two waves along the world's x; constant along y."""

    amplitude_m: tuple[float, float] = (0.0, 0.0)
    wavelength_m: tuple[float, float] = (180.0, 90.0)
    phase_rad: tuple[float, float] = (0.0, 0.0)

    def height_m(self, x_m: np.ndarray | float) -> np.ndarray:
        """Height of the carriageway at world x, metres."""
        a, b = self._waves(np.asarray(x_m))
        return self.amplitude_m[0] * np.sin(a) + self.amplitude_m[1] * np.sin(b)

    def slope(self, x_m: np.ndarray | float) -> np.ndarray:
        """dz/dx at world x."""
        a, b = self._waves(np.asarray(x_m))
        k, m = (2 * np.pi / w for w in self.wavelength_m)
        return self.amplitude_m[0] * k * np.cos(a) + self.amplitude_m[1] * m * np.cos(b)

    def _waves(self, x_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        k, m = (2 * np.pi / w for w in self.wavelength_m)
        return k * x_m + self.phase_rad[0], m * x_m + self.phase_rad[1]

    def stand(self, x_m: float, y_m: float, heading_rad: float) -> np.ndarray:
        """Pose (4, 4) of a body that stands on the ground and faces a heading."""
        slope = float(self.slope(x_m))
        c, s = float(np.cos(heading_rad)), float(np.sin(heading_rad))
        # Slope along and across the heading; the forward and left axes are on the ground plane.
        steep = (1 + (slope * c) ** 2) ** 0.5
        forward = np.array([c, s, slope * c]) / steep
        up = np.array([-slope, 0.0, 1.0]) / (1 + slope * slope) ** 0.5
        T = np.eye(4)
        T[:3, 0], T[:3, 1], T[:3, 2] = forward, np.cross(up, forward), up
        T[:3, 3] = (x_m, y_m, float(self.height_m(x_m)))
        return T


@dataclass(frozen=True, kw_only=True)
class Street:
    """Street from an origin along a yaw; its centre line is amplitude sin(2 pi x / w + p).

    A main street may have one cross street, which is straight and at a right angle to it.
    """

    origin_m: tuple[float, float] = (0.0, STREET_Y_M)
    yaw_rad: float = 0.0
    amplitude_m: float = 0.0
    wavelength_m: float = 400.0
    phase_rad: float = 0.0
    length_m: float
    lane_m: float  # width of a lane
    num_lanes: int = 1  # each way
    parking_m: float  # width of the parking strip on each side, 0 for none
    pavement_m: float
    setback_m: float  # from the pavement to the fronts of the buildings
    sides: tuple[Kerbside, Kerbside] = ("shops", "shops")  # right, left
    marking: tuple[float, float, float] = (0.62, 0.62, 0.60)  # linear RGB of the centre line
    style: int = 0  # selects the painted lines
    hills: Hills = Hills()
    cross: "Street | None" = None
    cross_at_m: float = 0.0  # x of the cross street's centre line
    gap_m: tuple[float, float] = (0.0, 0.0)  # (from, to) x of another street that crosses
    built_gap_m: tuple[float, float] = (0.0, 0.0)  # (from, to) x without buildings
    river_m: tuple[float, float] = (0.0, 0.0)  # (from, to) x of a river below the street
    grid_x_m: np.ndarray = field(init=False, repr=False)
    grid_s_m: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        x = np.arange(-60.0, self.length_m + 200.0, _STEP_M)
        slope = self.slope(x + _STEP_M / 2)
        s = np.concatenate([[0.0], np.cumsum(_STEP_M * np.sqrt(1 + slope[:-1] ** 2))])
        object.__setattr__(self, "grid_x_m", x)
        object.__setattr__(self, "grid_s_m", s - np.interp(0.0, x, s))

    @property
    def lanes_m(self) -> float:
        """Distance from the centre line to the outer edge of the lanes, metres."""
        return self.lane_m * self.num_lanes

    @property
    def half_road_m(self) -> float:
        """Distance from the centre line to the kerb, metres."""
        return self.lanes_m + self.parking_m

    @property
    def back_m(self) -> float:
        """Distance from the centre line to the back of the pavement, metres."""
        return self.half_road_m + self.pavement_m

    @property
    def front_m(self) -> float:
        """Distance from the centre line to the building fronts, metres."""
        return self.back_m + self.setback_m

    def stretches(self, margin_m: float = 0.0, *, built: bool = False) -> list[tuple[float, float]]:
        """Intervals of x along the street that no other street crosses, metres."""
        low, high = self.built_gap_m if built else self.gap_m
        if low == high:
            return [(0.0, self.length_m)]
        return [(0.0, low - margin_m), (high + margin_m, self.length_m)]

    def swing_m(self, x_m: np.ndarray | float) -> np.ndarray:
        """Lateral position of the centre line at x, metres."""
        wave = np.sin(2 * np.pi * np.asarray(x_m) / self.wavelength_m + self.phase_rad)
        return self.amplitude_m * wave

    def slope(self, x_m: np.ndarray | float) -> np.ndarray:
        """Derivative of `swing_m`."""
        k = 2 * np.pi / self.wavelength_m
        return self.amplitude_m * k * np.cos(k * np.asarray(x_m) + self.phase_rad)

    def heading_rad(self, x_m: np.ndarray | float) -> np.ndarray:
        """Direction of the street at x, from the world's x axis."""
        return self.yaw_rad + np.arctan(self.slope(x_m))

    def points_m(self, x_m: np.ndarray | float, d_m: np.ndarray | float) -> np.ndarray:
        """World (2, ...) of the points d to the left of the centre line at x, metres."""
        bend = np.arctan(self.slope(x_m))
        x, y = x_m - d_m * np.sin(bend), self.swing_m(x_m) + d_m * np.cos(bend)
        c, s = np.cos(self.yaw_rad), np.sin(self.yaw_rad)
        return np.stack([self.origin_m[0] + c * x - s * y, self.origin_m[1] + s * x + c * y])

    def place(self, x_m: float, d_m: float) -> tuple[float, float]:
        """World (x, y) of the point d to the left of the centre line at x, metres."""
        x, y = self.points_m(x_m, d_m)
        return float(x), float(y)

    def foot(self, x_m: float, d_m: float) -> tuple[float, float, float]:
        """World (x, y, z) of the ground at (x, d), at kerb height beyond the kerb, metres."""
        x, y = self.place(x_m, d_m)
        lift = KERB_HEIGHT_M if abs(d_m) > self.half_road_m else 0.0
        return x, y, float(self.hills.height_m(x)) + lift

    def s_at_m(self, x_m: float) -> float:
        """Distance along the centre line from x = 0, metres."""
        return float(np.interp(x_m, self.grid_x_m, self.grid_s_m))

    def coordinates(self, x_m: np.ndarray, y_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distance s and offset d of world points (N,), to first order in the curvature, metres."""
        c, s = np.cos(self.yaw_rad), np.sin(self.yaw_rad)
        east, north = x_m - self.origin_m[0], y_m - self.origin_m[1]
        x, y = c * east + s * north, c * north - s * east
        slope = self.slope(x)
        stretch = np.sqrt(1 + slope * slope)
        d = (y - self.swing_m(x)) / stretch
        foot_x = x + d * slope / stretch
        return np.interp(foot_x, self.grid_x_m, self.grid_s_m), d

    def is_road(self, x_m: np.ndarray, y_m: np.ndarray) -> np.ndarray:
        """Whether world points (...) are on the carriageway of this or of the cross street."""
        s, d = self.coordinates(x_m, y_m)
        road = (np.abs(d) <= self.half_road_m) & (s >= 0) & (s <= self.grid_s_m[-1])
        return road | self.cross.is_road(x_m, y_m) if self.cross else road
