"""Depth regions: connected parts of a depth map, cut where depth jumps between neighbours."""

import math

import cv2
import numpy as np

JUMP = 1.1  # ratio of neighbouring depths from which they belong to two objects


def depth_regions(depth_m: np.ndarray, jump: float = JUMP) -> np.ndarray:
    """Regions (H, W) int64 of depth (H, W) in metres, numbered from 1.

    Pixels next to a jump of depth, and those without depth (0), are 0: of no region.
    """
    known = depth_m > 0
    log_depth = np.log(np.where(known, depth_m, 1.0))
    limit, inside = math.log(jump), known.copy()
    for axis in (0, 1):
        first = [slice(None), slice(None)]
        second = [slice(None), slice(None)]
        first[axis], second[axis] = slice(None, -1), slice(1, None)
        a, b = tuple(first), tuple(second)
        jumps = (np.abs(log_depth[a] - log_depth[b]) > limit) | (known[a] != known[b])
        inside[a] &= ~jumps
        inside[b] &= ~jumps
    return cv2.connectedComponents(inside.astype(np.uint8), connectivity=4)[1].astype(np.int64)
