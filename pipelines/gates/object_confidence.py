"""Confidence per object: the mean confidence of each thing that stands on the road.

A thing is a connected part of the clear frame's depth, without the ground, cut where depth jumps;
no detector is needed. docs/howto/gates.md.
"""

from typing import Any

import cv2
import numpy as np

from nightrain.datasets.geometry.depth_regions import depth_regions
from nightrain.datasets.geometry.ground_plane import fit_ground, on_plane, plane_map

LONGER_SIDE = 224  # pixels of the picture in which things are looked for
LEAST_SHARE = 0.002  # of the picture; smaller parts are noise
MOST_OBJECTS = 32
FARTHEST_M = 80.0


def object_confidence(
    confidence: np.ndarray, depth_m: np.ndarray, size: tuple[int, int]
) -> list[dict[str, Any]]:
    """Boxes in pixels of `size` = (width, height), median depth and mean confidence; nearest first.

    `confidence` (h, w) in [0, 1] and `depth_m` (H, W), the sky inf, may have other sizes.
    """
    scale = min(1.0, LONGER_SIDE / max(size))
    small = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    depth = cv2.resize(depth_m, small, interpolation=cv2.INTER_NEAREST_EXACT)
    trust = cv2.resize(confidence.astype(np.float32), small, interpolation=cv2.INTER_AREA)
    regions = depth_regions(_above_ground(depth))
    counts = np.bincount(regions.ravel())
    counts[0] = 0
    largest = np.argsort(-counts, kind="stable")[:MOST_OBJECTS]
    kept = [int(one) for one in largest if counts[one] >= LEAST_SHARE * regions.size]
    per_pixel = size[0] / small[0], size[1] / small[1]
    found = [_object(regions == one, depth, trust, per_pixel) for one in kept]
    return sorted(found, key=lambda one: (one["depth_m"], one["left"], one["top"]))


def _above_ground(depth_m: np.ndarray) -> np.ndarray:
    """Depth (h, w) of what stands on the ground, up to 80 m; 0 elsewhere."""
    height, width = depth_m.shape
    known = np.isfinite(depth_m) & (depth_m > 0)
    inverse = np.divide(1.0, depth_m, out=np.zeros(depth_m.shape), where=known)
    rows, columns = np.nonzero(known)
    lower = np.flatnonzero(rows >= height // 2)[::3]  # every third is enough for a plane
    rows, columns = rows[lower].astype(np.float64), columns[lower].astype(np.float64)
    plane = fit_ground(rows, columns, inverse[known][lower])
    ground = on_plane(plane_map(plane, (width, height)), inverse)
    return np.where(known & ~ground & (depth_m <= FARTHEST_M), depth_m, 0.0)


def _object(
    mask: np.ndarray, depth_m: np.ndarray, trust: np.ndarray, per_pixel: tuple[float, float]
) -> dict[str, Any]:
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    left, top = columns[0] * per_pixel[0], rows[0] * per_pixel[1]
    right, bottom = (columns[-1] + 1) * per_pixel[0], (rows[-1] + 1) * per_pixel[1]
    return {
        "left": round(left),
        "top": round(top),
        "width": round(right) - round(left),
        "height": round(bottom) - round(top),
        "depth_m": round(float(np.median(depth_m[mask])), 3),
        "confidence": round(float(trust[mask].mean()), 4),
    }
