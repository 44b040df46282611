"""Which rays can meet which solid: bounds of every solid on an image and on a LiDAR sweep."""

from collections.abc import Iterator

import numpy as np

from datasets.world.solids import CORNER_SIGNS, GROUND_ROW, Solids

NEAR_M = 0.05
_EDGES = np.array(
    [
        (a, b)
        for a in range(8)
        for b in range(a + 1, 8)
        if np.sum(CORNER_SIGNS[a] != CORNER_SIGNS[b]) == 1
    ]
)  # (12, 2) corners of a box that share an edge

Bounds = np.ndarray  # (S, 4) int: first row, end row, first column, end column; empty if end<=first


def image_bounds(
    solids: Solids, T_camera_world: np.ndarray, intrinsics: np.ndarray, size: tuple[int, int]
) -> Bounds:
    """Rectangles (S, 4) that hold the solids in a (width, height) image; the ground has none."""
    corners = solids.corners_m() @ T_camera_world[:3, :3].T + T_camera_world[:3, 3]  # (S, 8, 3)
    ahead = corners[..., 2] > NEAR_M
    uv = (corners @ intrinsics.T)[..., :2] / np.maximum(corners[..., 2:], NEAR_M)
    low, high = uv.min(axis=1), uv.max(axis=1)  # (S, 2)
    for solid in np.flatnonzero(ahead.any(axis=1) & ~ahead.all(axis=1)):
        low[solid], high[solid] = _clipped_range(corners[solid], intrinsics)
    first = np.clip(np.floor(low), 0, size).astype(np.int64)
    end = np.clip(np.floor(high) + 2, 0, size).astype(np.int64)
    end[~ahead.any(axis=1)] = 0
    end[GROUND_ROW] = 0
    return np.stack([first[:, 1], end[:, 1], first[:, 0], end[:, 0]], axis=1)


def _clipped_range(corners: np.ndarray, intrinsics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixel range of the part of a box (8, 3) that lies before the near plane."""
    a, b = corners[_EDGES[:, 0]], corners[_EDGES[:, 1]]
    crossing = (a[:, 2] > NEAR_M) != (b[:, 2] > NEAR_M)
    a, b = a[crossing], b[crossing]
    share = (NEAR_M - a[:, 2]) / (b[:, 2] - a[:, 2])
    points = np.concatenate([corners[corners[:, 2] > NEAR_M], a + share[:, None] * (b - a)])
    uv = (points @ intrinsics.T)[:, :2] / np.maximum(points[:, 2:], NEAR_M)
    return uv.min(axis=0), uv.max(axis=0)


def grid_windows(bounds: Bounds) -> Iterator[tuple[int, tuple[slice, slice]]]:
    """The window of every solid that has one, as slices of a (height, width) grid."""
    for solid in np.flatnonzero((bounds[:, 1] > bounds[:, 0]) & (bounds[:, 3] > bounds[:, 2])):
        r0, r1, c0, c1 = bounds[solid]
        yield int(solid), (slice(r0, r1), slice(c0, c1))


def list_windows(
    bounds: Bounds, rows: np.ndarray, columns: np.ndarray
) -> Iterator[tuple[int, np.ndarray]]:
    """The window of every solid as indices into pixels (N,) that are sorted by row."""
    margin = np.array([-1, 1, -1, 1])  # sub-pixel rays leave the pixel's centre
    for solid in np.flatnonzero((bounds[:, 1] > bounds[:, 0]) & (bounds[:, 3] > bounds[:, 2])):
        r0, r1, c0, c1 = bounds[solid] + margin
        first, end = np.searchsorted(rows, (r0, r1))
        inside = (columns[first:end] >= c0) & (columns[first:end] < c1)
        index = np.flatnonzero(inside)
        if len(index):
            yield int(solid), index + first


def sweep_windows(
    solids: Solids, T_lidar_world: np.ndarray, elevations_rad: np.ndarray, num_azimuths: int
) -> Iterator[tuple[int, tuple[slice, slice]]]:
    """Windows of solids on a (beams, azimuths) sweep; beams rise, azimuth runs from -pi."""
    corners = solids.corners_m() @ T_lidar_world[:3, :3].T + T_lidar_world[:3, 3]  # (S, 8, 3)
    middle = corners.mean(axis=1)
    reach_m = np.linalg.norm(corners[..., :2] - middle[:, None, :2], axis=-1).max(axis=1)
    distance_m = np.linalg.norm(middle[:, :2], axis=1)
    for solid in range(GROUND_ROW + 1, len(solids)):
        near_m = max(distance_m[solid] - reach_m[solid], 1e-3)
        far_m = distance_m[solid] + reach_m[solid]
        beams = _beam_slice(corners[solid, :, 2], near_m, far_m, elevations_rad)
        if beams.start >= beams.stop:
            continue
        inside = distance_m[solid] <= reach_m[solid]
        for columns in _azimuth_slices(corners[solid], middle[solid], inside, num_azimuths):
            yield solid, (beams, columns)


def _beam_slice(z_m: np.ndarray, near_m: float, far_m: float, elevations: np.ndarray) -> slice:
    top, bottom = float(z_m.max()), float(z_m.min())
    high = np.arctan2(top, near_m if top > 0 else far_m)
    low = np.arctan2(bottom, far_m if bottom > 0 else near_m)
    first, end = np.searchsorted(elevations, (low - 1e-6, high + 1e-6))
    return slice(int(first), int(end))


def _azimuth_slices(
    corners: np.ndarray, middle: np.ndarray, inside: bool, num_azimuths: int
) -> list[slice]:
    if inside:
        return [slice(0, num_azimuths)]
    centre = np.arctan2(middle[1], middle[0])
    offset = np.arctan2(corners[:, 1], corners[:, 0]) - centre
    offset = (offset + np.pi) % (2 * np.pi) - np.pi
    per_rad = num_azimuths / (2 * np.pi)
    first = int(np.floor((centre + offset.min() + np.pi) * per_rad))
    end = int(np.floor((centre + offset.max() + np.pi) * per_rad)) + 2
    pieces = [(first, end), (first + num_azimuths, end + num_azimuths)]
    pieces.append((first - num_azimuths, end - num_azimuths))
    clipped = [(max(a, 0), min(b, num_azimuths)) for a, b in pieces]
    return [slice(a, b) for a, b in clipped if b > a]
