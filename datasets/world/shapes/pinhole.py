"""Pinhole camera in world coordinates: pixels to rays and back."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Pinhole camera with a pose in the world."""

    T_world_camera: np.ndarray  # (4, 4) metres
    intrinsics: np.ndarray  # (3, 3) pixels
    size: tuple[int, int]  # width, height

    @property
    def eye_m(self) -> np.ndarray:
        """Camera centre (3,) in metres."""
        return self.T_world_camera[:3, 3]

    @property
    def pixel_rad(self) -> float:
        """Angle subtended by the central pixel."""
        return float(1 / self.intrinsics[0, 0])

    def directions(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """World directions (3, ...) through pixels, of z-depth 1, so that t is the z-depth."""
        pixels = np.stack([u, v, np.ones_like(u)])
        return np.tensordot(self.T_world_camera[:3, :3] @ np.linalg.inv(self.intrinsics), pixels, 1)

    def pixels(self, points_m: np.ndarray) -> np.ndarray:
        """Pixels (2, N) of world points (3, N); nan behind the camera."""
        return self.pixels_along(points_m - self.eye_m[:, None])

    def pixels_along(self, directions: np.ndarray) -> np.ndarray:
        """Pixels (2, N) of world directions (3, N); nan behind the camera."""
        seen = self.intrinsics @ self.T_world_camera[:3, :3].T @ directions
        ahead = seen[2] > 1e-3
        return np.where(ahead, seen[:2] / np.where(ahead, seen[2], 1.0), np.nan)
