"""Metric scale of a depth network: its inverse depth, fitted to LiDAR or to the road.

A network of relative depth gives inverse depth up to a scale and a shift (Ranftl et al. 2020,
arXiv 1907.01341). Both are fitted, in inverse depth, where the true depth is known.
"""

from typing import Literal

import numpy as np

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.pipelines.controls.tiles import fit_scale_shift

LEAST_PIXELS = 50  # with known depth, for a fit
FARTHEST_M = 250.0  # beyond it is sky
NEAREST_M = 0.5
ROAD_M = (3.0, 30.0)  # the road plane is trusted between these depths

Reference = Literal["lidar", "network", "road"]


def metric_depth(
    inverse_depth: np.ndarray,
    *,
    is_metric: bool,
    lidar_depth_m: np.ndarray | None,
    road_inverse: np.ndarray | None,
) -> tuple[np.ndarray, Reference]:
    """Dense depth (H, W) float32 in metres, sky = inf, and what its scale comes from.

    `lidar_depth_m` (H, W) is 0 where unknown; `road_inverse` (H, W) is that of the road plane, 1/m.
    LiDAR is preferred; without it, metric networks are believed, and relative ones are fitted to
    the road. Raises DamagedInput if nothing gives a scale.
    """
    if lidar_depth_m is not None and np.count_nonzero(lidar_depth_m > 0) >= LEAST_PIXELS:
        return _fitted(inverse_depth, _inverse(lidar_depth_m), "lidar"), "lidar"
    if is_metric:
        return _depth(inverse_depth), "network"
    if road_inverse is not None:
        near, far = ROAD_M
        seen = (road_inverse >= 1 / far) & (road_inverse <= 1 / near)
        if np.count_nonzero(seen) >= LEAST_PIXELS:
            return _fitted(inverse_depth, np.where(seen, road_inverse, 0.0), "the road"), "road"
    raise DamagedInput(
        Reason.NO_DEPTH,
        "the network's depth is relative, and the frame has neither LiDAR nor a T_ego_camera with "
        "road in view to scale it by",
    )


def _inverse(depth_m: np.ndarray) -> np.ndarray:
    """Inverse depth (H, W), 1/m, 0 where unknown."""
    known = depth_m > 0
    return np.where(known, 1 / np.where(known, depth_m, 1.0), 0.0)


def _fitted(inverse_depth: np.ndarray, reference: np.ndarray, name: str) -> np.ndarray:
    """Depth by a scale and shift to a reference (H, W) in 1/m, 0 where unknown."""
    known = reference > 0
    fit = fit_scale_shift(inverse_depth[known], reference[known])
    if fit is None:
        raise DamagedInput(
            Reason.NO_DEPTH,
            f"the network's depth cannot be scaled to {name}: it does not grow with the true "
            f"inverse depth at {np.count_nonzero(known)} pixels",
        )
    scale, shift = fit
    return _depth(scale * inverse_depth.astype(np.float64) + shift)


def _depth(inverse_depth: np.ndarray) -> np.ndarray:
    """Depth (H, W) float32 of metric inverse depth; far is sky."""
    depth_m = 1 / np.clip(inverse_depth, 1 / FARTHEST_M, 1 / NEAREST_M)
    return np.where(inverse_depth <= 1 / FARTHEST_M, np.inf, depth_m).astype(np.float32)
