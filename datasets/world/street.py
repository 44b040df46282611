"""The course and the cross-section of a street: x runs along it, d is the offset to the left."""

from dataclasses import dataclass, field

import numpy as np

KERB_HEIGHT_M = 0.14
STREET_Y_M = 100.0  # keeps every coordinate positive, as the map masks need
_STEP_M = 0.25


@dataclass(frozen=True, kw_only=True)
class Street:
    """A gently winding street, centre y = 100 + amplitude sin(2 pi x / wavelength + phase)."""

    amplitude_m: float
    wavelength_m: float
    phase_rad: float
    length_m: float
    lane_m: float  # width of each of the two lanes
    parking_m: float  # width of the parking strip on each side
    pavement_m: float
    setback_m: float  # from the pavement to the fronts of the buildings
    marking: tuple[float, float, float]  # linear RGB of the centre line
    grid_x_m: np.ndarray = field(init=False, repr=False)
    grid_s_m: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        x = np.arange(0.0, self.length_m + 200.0, _STEP_M)
        slope = self.slope(x + _STEP_M / 2)
        s = np.concatenate([[0.0], np.cumsum(_STEP_M * np.sqrt(1 + slope[:-1] ** 2))])
        object.__setattr__(self, "grid_x_m", x)
        object.__setattr__(self, "grid_s_m", s)

    @property
    def half_road_m(self) -> float:
        """From the centre line to the kerb, metres."""
        return self.lane_m + self.parking_m

    @property
    def front_m(self) -> float:
        """From the centre line to the fronts of the buildings, metres."""
        return self.half_road_m + self.pavement_m + self.setback_m

    def centre_y_m(self, x_m: np.ndarray) -> np.ndarray:
        """World y of the centre line at x, metres."""
        wave = np.sin(2 * np.pi * x_m / self.wavelength_m + self.phase_rad)
        return STREET_Y_M + self.amplitude_m * wave

    def slope(self, x_m: np.ndarray) -> np.ndarray:
        """dy/dx of the centre line at x."""
        k = 2 * np.pi / self.wavelength_m
        return self.amplitude_m * k * np.cos(k * x_m + self.phase_rad)

    def heading_rad(self, x_m: float) -> float:
        """Direction of the street at x, from the world's x axis."""
        return float(np.arctan(self.slope(np.asarray(x_m))))

    def place(self, x_m: float, d_m: float) -> tuple[float, float]:
        """World (x, y) of the point d to the left of the centre line at x, metres."""
        heading = self.heading_rad(x_m)
        y = float(self.centre_y_m(np.asarray(x_m)))
        return x_m - d_m * float(np.sin(heading)), y + d_m * float(np.cos(heading))

    def x_at_m(self, s_m: float) -> float:
        """The x at which the way along the centre line is s, metres."""
        return float(np.interp(s_m, self.grid_s_m, self.grid_x_m))

    def s_at_m(self, x_m: float) -> float:
        """The way along the centre line from x = 0, metres."""
        return float(np.interp(x_m, self.grid_x_m, self.grid_s_m))

    def coordinates(self, x_m: np.ndarray, y_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Way s and offset d of world points (N,), to first order in the curvature, metres."""
        slope = self.slope(x_m)
        stretch = np.sqrt(1 + slope * slope)
        d = (y_m - self.centre_y_m(x_m)) / stretch
        foot_x = x_m + d * slope / stretch
        return np.interp(foot_x, self.grid_x_m, self.grid_s_m), d
