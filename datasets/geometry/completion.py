"""Depth completion: densifies sparse LiDAR depth without a network, for control images.

Related to IP-Basic (Ku, Harakeh and Waslander 2018), which dilates inverse depth. Here each column
is filled between its returns by a model of a street (ground below, upright objects on it, sky
above), and image edges decide where in a gap an object ends.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.datasets.geometry.ground_plane import fit_ground, on_plane, plane_map
from nightrain.datasets.geometry.projection import scatter_min_resize
from nightrain.datasets.geometry.sky_mask import enlarged, sky_mask

VERSION = "2"  # increased when equal frames get another depth
WORK_WIDTH = 384  # nuScenes' rings are 7 px apart at this width, points of a ring 2 px
MIN_RETURNS = 16
FAR_M = 100.0  # depth of pixels with neither a LiDAR return nor sky
MAX_COMPLETED_M = 200.0
SAME_SURFACE = 1.25  # ratio of depths up to which two returns are joined by a slope
OCCLUDED = 1.3  # returns farther than those above and below by this ratio are occluded background
RING_GAP_PX = 9  # rows between two rings, with some slack
COLUMN_GAP_PX = 6  # wider gaps are bridged over pedestrians and posts
GUIDED_RADIUS = 14
GUIDED_EPS = 0.01
TOP_WINDOW = 15  # columns of the median filter above the highest ring


def complete_depth(sparse_depth_m: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Complete sparse depth (H, W), 0 = none, using an image (H, W, 3) uint8: (H, W) float32.

    The result is in metres, > 0 everywhere, with sky = inf, and deterministic. Raises
    DamagedInput(NO_DEPTH) for fewer than 16 returns.
    """
    height, width = sparse_depth_m.shape
    if image.shape != (height, width, 3):
        raise ValueError(f"depth {sparse_depth_m.shape} and image {image.shape} do not match")
    work = (min(WORK_WIDTH, width), max(2, round(height * min(WORK_WIDTH, width) / width)))
    returns = _inverse(scatter_min_resize(sparse_depth_m, work))  # (h, w)
    small = cv2.resize(image, work, interpolation=cv2.INTER_AREA)
    if np.count_nonzero(returns) < MIN_RETURNS:
        raise DamagedInput(
            Reason.NO_DEPTH,
            f"{np.count_nonzero(sparse_depth_m)} LiDAR returns in the image; "
            f"at least {MIN_RETURNS} apart from each other are needed to complete it",
        )
    plane = _ground(returns)
    sky = sky_mask(small, returns > 0, _horizon(plane, work))
    filled = _fill(_without_occluded(returns), plane, small)
    return _to_full_size(filled, sky, (width, height))


def _inverse(depth_m: np.ndarray) -> np.ndarray:
    return np.divide(1.0, depth_m, out=np.zeros_like(depth_m), where=depth_m > 0)


def _ground(returns: np.ndarray) -> np.ndarray:
    first = len(returns) // 2
    rows, columns = np.nonzero(returns[first:])
    return fit_ground(rows + first, columns, returns[rows + first, columns])


def _horizon(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Row of the horizon per column (W,); without a plane, two thirds of the height."""
    if plane[1] <= 0:
        return np.full(size[0], size[1] * 2 // 3)
    return -(plane[0] * np.arange(size[0]) + plane[2]) / plane[1]


def _without_occluded(returns: np.ndarray) -> np.ndarray:
    """Drop background returns that only the LiDAR sees: from the roof, it looks over objects."""
    kernel = np.ones((RING_GAP_PX, 5), np.uint8)
    above = cv2.dilate(returns, kernel, anchor=(2, RING_GAP_PX - 1))
    below = cv2.dilate(returns, kernel, anchor=(2, 0))
    return np.where(np.minimum(above, below) > OCCLUDED * returns, 0.0, returns)


@dataclass(frozen=True, slots=True)
class _Gaps:
    """For each pixel (h, w), the nearest returns above and below in its column, and its position.

    Inverse depths; 0 if there is no return on that side. `t` runs from 0 at the upper to 1 at the
    lower return, linearly in rows; `t_image` follows the steps of the image, so it jumps at image
    edges.
    """

    ground: np.ndarray
    upper: np.ndarray
    lower: np.ndarray
    ground_upper: np.ndarray
    ground_lower: np.ndarray
    gap: np.ndarray  # rows from the upper to the lower
    t: np.ndarray
    t_image: np.ndarray


def _fill(returns: np.ndarray, plane: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Inverse depth (h, w) > 0 everywhere from returns (h, w), column by column."""
    height, width = returns.shape
    gaps = _gaps(_bridge_columns(returns, image), plane_map(plane, (width, height)), image)
    inside = _between(gaps)
    filled = np.where(
        gaps.upper == 0, _above(gaps), np.where(gaps.lower == 0, _below(gaps), inside)
    )
    filled = np.maximum(filled, np.float32(1 / MAX_COMPLETED_M)).astype(np.float32)
    return np.where(gaps.upper == 0, np.exp(_guided(np.log(filled), image)), filled)


def _guided(values: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Guided filter (He, Sun and Tang 2013): smooth values (h, w) where the image is smooth.

    Above the highest ring, each column only extends what is below it. Without smoothing,
    neighbouring columns of one wall that end at different objects would stand out as stripes.
    """
    guide = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255

    def mean(x: np.ndarray) -> np.ndarray:
        return cv2.blur(x, (2 * GUIDED_RADIUS + 1, 2 * GUIDED_RADIUS + 1))

    mean_guide, mean_values = mean(guide), mean(values)
    covariance = mean(guide * values) - mean_guide * mean_values
    slope = covariance / (mean(guide * guide) - mean_guide**2 + np.float32(GUIDED_EPS))
    return mean(slope) * guide + mean(mean_values - slope * mean_guide)


def _bridge_columns(returns: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Close the gaps along a ring, and fill columns without returns from the nearest column."""
    across = _gaps(returns.T, np.zeros_like(returns.T), image.transpose(1, 0, 2))
    narrow = (across.gap <= COLUMN_GAP_PX) & (across.upper > 0) & (across.lower > 0)
    known = np.where(narrow, _join(across), returns.T).T
    with_returns = np.flatnonzero(known.any(axis=0))
    columns = np.arange(returns.shape[1])
    right = np.clip(np.searchsorted(with_returns, columns), 0, len(with_returns) - 1)
    left = np.maximum(right - 1, 0)
    left_is_nearer = columns - with_returns[left] < with_returns[right] - columns
    return known[:, with_returns[np.where(left_is_nearer, left, right)]]


def _gaps(known: np.ndarray, ground: np.ndarray, image: np.ndarray) -> _Gaps:
    height = len(known)
    row = np.arange(height, dtype=np.int32)[:, None]
    up = np.maximum.accumulate(np.where(known > 0, row, -1), axis=0)
    down = np.minimum.accumulate(np.where(known > 0, row, height)[::-1], axis=0)[::-1]
    padded = np.pad(np.stack([known, ground]), ((0, 0), (1, 1), (0, 0)))  # (2, h + 2, w)
    at_up = np.take_along_axis(padded, up[None] + 1, axis=1)
    at_down = np.take_along_axis(padded, down[None] + 1, axis=1)
    way = np.pad(np.cumsum(_image_steps(image), axis=0), ((1, 1), (0, 0)), mode="edge")
    way_up, way_down = (np.take_along_axis(way, r + 1, axis=0) for r in (up, down))
    return _Gaps(
        ground=ground,
        upper=at_up[0],
        lower=at_down[0],
        ground_upper=at_up[1],
        ground_lower=at_down[1],
        gap=down - up,
        t=(row - up) / np.maximum(down - up, 1).astype(np.float32),
        t_image=(way[1:-1] - way_up) / np.maximum(way_down - way_up, 1e-6),
    )


def _image_steps(image: np.ndarray) -> np.ndarray:
    """Return the image's change from the row above to each row: (h, w) float32, never 0."""
    smooth = cv2.GaussianBlur(image, (5, 3), 0)
    red, green, blue = cv2.split(cv2.absdiff(smooth[1:], smooth[:-1]))
    steps = np.zeros(image.shape[:2], np.float32)
    steps[1:] = cv2.max(cv2.max(red, green), blue)
    return steps * steps + np.float32(4.0)  # squared: one strong edge outweighs many weak ones


def _between(gaps: _Gaps) -> np.ndarray:
    """Inverse depth between two returns.

    Ground to ground: the plane, scaled to meet both. An upright object above ground: the object's
    depth until the ground is nearer. Otherwise as in `_join`.
    """
    upper_is_ground = on_plane(gaps.ground_upper, gaps.upper)
    lower_is_ground = on_plane(gaps.ground_lower, gaps.lower)
    filled = _join(gaps)
    scale_upper, scale_lower = (
        _scale(gaps.upper, gaps.ground_upper),
        _scale(gaps.lower, gaps.ground_lower),
    )
    slope = gaps.ground * (scale_upper + gaps.t * (scale_lower - scale_upper))
    upright = np.maximum(gaps.upper, gaps.ground * scale_lower)
    filled = np.where(lower_is_ground, upright, filled)
    return np.where(lower_is_ground & upper_is_ground, slope, filled)


def _join(gaps: _Gaps) -> np.ndarray:
    """Interpolate one surface linearly; separate two where the image changes most."""
    line = gaps.upper + gaps.t * (gaps.lower - gaps.upper)
    nearer, farther = np.maximum(gaps.upper, gaps.lower), np.minimum(gaps.upper, gaps.lower)
    step = np.where(gaps.t_image < 0.5, gaps.upper, gaps.lower)
    return np.where(nearer < SAME_SURFACE * farther, line, step)


def _above(gaps: _Gaps) -> np.ndarray:
    """Fill above the highest return: extend upright objects up, and ground to its horizon."""
    is_ground = on_plane(gaps.ground_lower, gaps.lower)
    ground = gaps.ground * _scale(gaps.lower, gaps.ground_lower)
    top = np.where(is_ground[0], np.float32(1 / FAR_M), gaps.lower[0])  # (w,)
    return np.where(is_ground, np.maximum(ground, _even_out(top)[None]), _even_out(top)[None])


def _even_out(top: np.ndarray) -> np.ndarray:
    """Median (w,) over neighbouring columns, so that single columns do not stand out as stripes."""
    padded = np.pad(top, TOP_WINDOW // 2, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, TOP_WINDOW), axis=1)


def _below(gaps: _Gaps) -> np.ndarray:
    """Fill below the lowest return: extend the object down until the ground is nearer."""
    is_ground = on_plane(gaps.ground_upper, gaps.upper)
    scale = np.where(is_ground, _scale(gaps.upper, gaps.ground_upper), 1.0)
    return np.maximum(gaps.upper, gaps.ground * scale)


def _scale(inverse_depth: np.ndarray, ground: np.ndarray) -> np.ndarray:
    return inverse_depth / np.maximum(ground, np.float32(1e-4))


def _to_full_size(inverse: np.ndarray, sky: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Convert inverse depth and sky (h, w) to depth (H, W) after a median filter for outliers."""
    inverse = cv2.resize(cv2.medianBlur(inverse, 5), size, interpolation=cv2.INTER_LINEAR)
    depth_m = 1.0 / inverse
    depth_m[enlarged(sky, size)] = np.inf
    return depth_m
