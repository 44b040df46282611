"""Ground plane: fitted to sparse depth, without camera calibration.

A plane n.X = d seen by a pinhole camera has an inverse depth that is affine in the pixel:
1/z = n.(K^-1 [u, v, 1]) / d = a u + b v + c. Fitting a plane therefore needs no intrinsics.
"""

import numpy as np

NUM_HYPOTHESES = 64
NUM_TESTED = 400  # returns each hypothesis is compared with
TOLERANCE = 0.06  # relative to the plane's inverse depth: 6 % of the distance
MIN_SHARE = 0.25  # least share of the returns in the lower half of the image


def fit_ground(rows: np.ndarray, columns: np.ndarray, inverse_depth: np.ndarray) -> np.ndarray:
    """Fit the ground 1/z = a u + b v + c to returns (N,); return (3,): a, b, c, or zeros.

    RANSAC (Fischler and Bolles 1981) with a fixed seed, then least squares on the inliers. Zeros
    mean that no ground was found. Inverse depth must grow downwards, and enough returns must be
    close to the plane.
    """
    design = np.stack([columns, rows, np.ones_like(rows)], axis=1).astype(np.float64)  # (N, 3)
    if len(design) < 12:
        return np.zeros(3)
    rng = np.random.default_rng(0)
    triples = rng.integers(0, len(design), (NUM_HYPOTHESES, 3))
    planes = _through(design[triples], inverse_depth[triples])  # (M, 3)
    tested = slice(None, None, max(1, len(design) // NUM_TESTED))
    support = _support(planes, design[tested], inverse_depth[tested])
    best = planes[np.argmax(support)]
    for _ in range(2):
        inliers = on_plane(design @ best, inverse_depth)
        if inliers.mean() < MIN_SHARE:
            return np.zeros(3)
        # Weighted by distance: an error of depth, divided by z^2, is that of inverse depth.
        weight = 1.0 / inverse_depth[inliers]
        system = design[inliers] * weight[:, None]
        best = np.linalg.lstsq(system, np.ones(len(system)), rcond=None)[0]
    return best if best[1] > 0 else np.zeros(3)


def on_plane(plane_inverse_depth: np.ndarray, inverse_depth: np.ndarray) -> np.ndarray:
    """Return which inverse depths are on the plane, within the tolerance: bool, same shape."""
    near = np.abs(inverse_depth - plane_inverse_depth) < TOLERANCE * plane_inverse_depth
    return near & (plane_inverse_depth > 0)


def plane_map(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Inverse depth (H, W) float32 of a plane; 0 above its horizon."""
    width, height = size
    row = np.arange(height, dtype=np.float32)[:, None] * np.float32(plane[1])
    column = np.arange(width, dtype=np.float32)[None] * np.float32(plane[0])
    return np.maximum(row + column + np.float32(plane[2]), 0.0)


def _through(points: np.ndarray, inverse_depth: np.ndarray) -> np.ndarray:
    """Planes (M, 3) through three returns each; zeros for planes that cannot be ground."""
    flat = np.abs(np.linalg.det(points)) < 1.0  # nearly collinear in the image
    points[flat] = np.eye(3)
    planes = np.linalg.solve(points, inverse_depth[..., None])[..., 0]
    # The ground comes nearer downwards, and much more so than sideways: cars roll little.
    planes[flat | (planes[:, 1] <= 0) | (np.abs(planes[:, 0]) > 0.3 * planes[:, 1])] = 0.0
    return planes


def _support(planes: np.ndarray, design: np.ndarray, inverse_depth: np.ndarray) -> np.ndarray:
    return on_plane(planes @ design.T, inverse_depth[None]).sum(axis=1)  # (M,)
