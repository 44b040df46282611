"""Returns as constraints: they correct the network's depth near them, bound it, and exclude sky."""

import cv2
import numpy as np

RADIUS_PX = 3
SIGMA_PX = 1.5
SAME_SURFACE = 0.05  # difference of log depth that a surface may have within the radius
SEEN_THROUGH = 0.10  # returns farther than the network's depth by more are from behind an object
RIDGE = 0.02  # weight of the network's own depth
BOUND_ROWS, BOUND_COLUMNS = 8, 4  # reach of the bounds; nuScenes' rings are 7 px apart
BOUND_MARGIN = 0.1  # of log depth, beyond the nearest and the farthest return in reach
SKY_COLUMNS = 3  # columns beside a return in which there is no sky below it


def propagated(
    log_depth: np.ndarray, scale: np.ndarray, measured: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Log depth and scale (H, W) corrected by the returns near each pixel.

    `measured` (H, W) is the log depth of the returns, where `mask` (H, W) is true. The difference
    of each trusted return from the network's depth moves its neighbours on the same surface, by a
    Gaussian of their distance.
    """
    difference = np.where(mask, measured - log_depth, 0.0).astype(np.float32)
    trust = (mask & (difference < SEEN_THROUGH)).astype(np.float32)
    total, moved = np.full_like(log_depth, RIDGE), np.zeros_like(log_depth)
    depth = np.pad(log_depth, RADIUS_PX, mode="edge")
    diff, sure = np.pad(difference, RADIUS_PX), np.pad(trust, RADIUS_PX)
    height, width = log_depth.shape
    for dy in range(2 * RADIUS_PX + 1):
        for dx in range(2 * RADIUS_PX + 1):
            part = np.s_[dy : dy + height, dx : dx + width]
            away = np.hypot(dy - RADIUS_PX, dx - RADIUS_PX)
            same = np.exp(-(((depth[part] - log_depth) / SAME_SURFACE) ** 2))
            weight = np.float32(np.exp(-0.5 * (away / SIGMA_PX) ** 2)) * sure[part] * same
            total += weight
            moved += weight * diff[part]
    share = 1 - RIDGE / total  # of the measured depth
    return log_depth + moved / total, scale * (1 - 0.5 * share * trust)


def bounded(log_depth: np.ndarray, measured: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Log depth (H, W) within the range of the returns around each pixel, where some are in reach.

    Only pixels with returns above and below in reach are bounded: above the rings, depth is free.
    """
    far = np.float32(1e3)
    nearest = _least(np.where(mask, measured, far))
    farthest = -_least(np.where(mask, -measured, far))
    hit = mask.astype(np.uint8)
    column = np.ones((BOUND_ROWS + 1, 2 * BOUND_COLUMNS + 1), np.uint8)
    above = cv2.dilate(hit, column, anchor=(BOUND_COLUMNS, BOUND_ROWS)) > 0
    below = cv2.dilate(hit, column, anchor=(BOUND_COLUMNS, 0)) > 0
    limited = np.clip(log_depth, nearest - BOUND_MARGIN, farthest + BOUND_MARGIN)
    return np.where(above & below, limited, log_depth).astype(np.float32)


def may_be_sky(mask: np.ndarray) -> np.ndarray:
    """Mask (H, W) bool of the pixels above the highest return of their column and those next to it.

    Without any return in reach, it is the upper half of the image.
    """
    height = len(mask)
    top = np.where(mask.any(axis=0), np.argmax(mask, axis=0), height).astype(np.float32)
    top = cv2.erode(top[None], np.ones((1, 2 * SKY_COLUMNS + 1), np.uint8))[0]
    top = np.where(top < height, top, height // 2)
    return np.arange(height)[:, None] < top[None] - 1


def _least(values: np.ndarray) -> np.ndarray:
    """Minimum of (H, W) float32 over the reach of the bounds."""
    reach = np.ones((2 * BOUND_ROWS + 1, 2 * BOUND_COLUMNS + 1), np.uint8)
    return cv2.erode(values.astype(np.float32), reach)
