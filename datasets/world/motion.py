"""How things move along a street: a way s(t) with changing speed and a drift within the lane."""

from dataclasses import dataclass

import numpy as np

from datasets.world.street import Street


@dataclass(frozen=True, kw_only=True)
class Motion:
    """Motion along a street; a negative speed drives against x, speed 0 is parked."""

    street: Street
    s_start_m: float
    speed_mps: float  # mean
    lane_d_m: float
    sway_mps: float = 0.0  # amplitude of the speed's change
    sway_period_s: float = 8.0
    sway_phase_rad: float = 0.0
    drift_m: float = 0.0  # amplitude of the drift within the lane
    drift_period_s: float = 9.0

    def way_m(self, t_s: float) -> float:
        """Way along the street at time t, the integral of the speed, metres."""
        k = 2 * np.pi / self.sway_period_s
        swayed = np.cos(self.sway_phase_rad) - np.cos(k * t_s + self.sway_phase_rad)
        return float(self.s_start_m + self.speed_mps * t_s + self.sway_mps / k * swayed)

    def pose(self, t_s: float) -> np.ndarray:
        """T_world_body (4, 4) at time t; x forward, y left, z up from the ground, metres."""
        back, here, ahead = (self._point(t_s + dt) for dt in (-0.01, 0.0, 0.01))
        travelled = ahead - back
        if self.speed_mps == 0:
            yaw = self.street.heading_rad(here[0]) + (np.pi if self.lane_d_m > 0 else 0.0)
        else:
            yaw = float(np.arctan2(travelled[1], travelled[0]))
        T = np.eye(4)
        T[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
        T[:2, 3] = here
        return T

    def _point(self, t_s: float) -> np.ndarray:
        drift = self.drift_m * np.sin(2 * np.pi * t_s / self.drift_period_s + self.sway_phase_rad)
        x = self.street.x_at_m(self.way_m(t_s))
        return np.array(self.street.place(x, self.lane_d_m + float(drift)))
