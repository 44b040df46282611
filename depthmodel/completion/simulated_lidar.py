"""Simulated LiDAR: rings of returns taken from exact depth, with the faults of real sensors.

The sensor sees what the camera sees; the returns from behind objects that a sensor at another
place has are imitated by `with_parallax`.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from nightrain.datasets.geometry.projection import unproject_depth

MAX_RANGE_M = 90.0
PARALLAX_PX = 5  # width of the rim around near objects in which background shows through
PARALLAX_RATIO = 1.2  # of the depths of background and object


@dataclass(frozen=True, slots=True)
class LidarSettings:
    """Rings of a spinning LiDAR, and where it is mounted.

    `place_m` is in camera axes: x right, y down, z forward.
    """

    lowest_deg: float
    highest_deg: float
    num_rings: int
    azimuth_step_deg: float
    place_m: tuple[float, float, float]

    @property
    def ring_step_deg(self) -> float:
        """Angle between two rings."""
        return (self.highest_deg - self.lowest_deg) / max(1, self.num_rings - 1)


NUSCENES = LidarSettings(-30.67, 10.67, 32, 0.333, (0.0, -0.33, -0.76))
KITTI = LidarSettings(-24.8, 2.0, 64, 0.17, (0.06, -0.08, -0.27))


def simulated_returns(
    exact_m: np.ndarray, intrinsics: np.ndarray, lidar: LidarSettings
) -> np.ndarray:
    """Sparse depth (H, W) float32 of the returns of a LiDAR, 0 = none, from exact depth (H, W).

    Of the pixels that a beam's cell of elevation and azimuth contains, the one nearest to the
    ring's centre returns, unless another one in the cell hides it.
    """
    v, u = np.nonzero((exact_m > 0) & np.isfinite(exact_m))
    points = unproject_depth(exact_m, intrinsics) - np.array(lidar.place_m)  # (N, 3)
    range_m = np.linalg.norm(points, axis=1)
    elevation = np.degrees(np.arcsin(-points[:, 1] / np.maximum(range_m, 1e-6)))
    azimuth = np.degrees(np.arctan2(points[:, 0], points[:, 2]))
    along = (elevation - lidar.lowest_deg) / lidar.ring_step_deg
    ring, off = np.rint(along), np.abs(along - np.rint(along)) * lidar.ring_step_deg
    pixel_deg = float(np.degrees(1 / intrinsics[1, 1]))
    hit = (off <= 0.5 * pixel_deg) & (ring >= 0) & (ring < lidar.num_rings)
    hit &= range_m < MAX_RANGE_M
    beam = ring[hit].astype(np.int64) * 100_000 + np.rint(
        (azimuth[hit] + 180) / lidar.azimuth_step_deg
    ).astype(np.int64)
    order = np.lexsort((off[hit], np.rint(range_m[hit] * 2), beam))
    _, first = np.unique(beam[order], return_index=True)
    kept = np.flatnonzero(hit)[order[first]]
    sparse = np.zeros_like(exact_m, np.float32)
    sparse[v[kept], u[kept]] = exact_m[v[kept], u[kept]]
    return sparse


def with_parallax(
    sparse_m: np.ndarray, exact_m: np.ndarray, rng: np.random.Generator, share: float
) -> np.ndarray:
    """Sparse depth (H, W) in which a share of the returns near an object's rim is background.

    A LiDAR that is mounted next to the camera sees past objects; its returns from behind them are
    projected onto the object.
    """
    filled = np.where(exact_m > 0, exact_m, np.float32(0))
    behind = cv2.dilate(filled, np.ones((3, 2 * PARALLAX_PX + 1), np.uint8))
    rim = (sparse_m > 0) & (behind > PARALLAX_RATIO * sparse_m)
    changed = rim & (rng.random(sparse_m.shape) < share) & (behind < MAX_RANGE_M)
    return np.where(changed, behind, sparse_m)


def with_faults(sparse_m: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sparse depth (H, W) with range noise, lost returns and a few wrong ones."""
    faulty = sparse_m + rng.normal(0, 0.02, sparse_m.shape).astype(np.float32) * (sparse_m > 0)
    wrong = rng.random(sparse_m.shape) < 0.002
    factor = rng.uniform(0.5, 2.0, sparse_m.shape).astype(np.float32)
    faulty = np.where(wrong, faulty * factor, faulty)
    lost = rng.random(sparse_m.shape) < rng.uniform(0.0, 0.35)
    return np.where(lost | (faulty <= 0), np.float32(0), faulty).astype(np.float32)


def without_rings(sparse_m: np.ndarray, intrinsics: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Sparse depth (H, W) without the returns in hidden bands of nuScenes' elevations.

    `hidden` bool (32,) marks the rings. They are told apart by the angle at the LiDAR's place.
    """
    v, u = np.nonzero(sparse_m > 0)
    ring = rings_of(sparse_m, intrinsics, NUSCENES)
    kept = ~hidden[np.clip(ring, 0, NUSCENES.num_rings - 1)]
    sparse = np.zeros_like(sparse_m)
    sparse[v[kept], u[kept]] = sparse_m[v[kept], u[kept]]
    return sparse


def rings_of(sparse_m: np.ndarray, intrinsics: np.ndarray, lidar: LidarSettings) -> np.ndarray:
    """Number of the nearest ring of each return (N,) int, in the order of np.nonzero."""
    points = unproject_depth(sparse_m, intrinsics) - np.array(lidar.place_m)
    elevation = np.degrees(np.arctan2(-points[:, 1], np.hypot(points[:, 0], points[:, 2])))
    return np.rint((elevation - lidar.lowest_deg) / lidar.ring_step_deg).astype(int)
