"""Ground plane, heights above it and surface normals, from depth and intrinsics.

A plane n . p = h seen along the ray (x, y, 1) has inverse depth (n . ray) / h: linear in the pixel,
so the plane is fitted to inverse depth, and a surface's normal follows from its gradient
(docs/papers/weather.md, eq. 11).
"""

from dataclasses import dataclass

import cv2
import numpy as np

from nightrain.pipelines.engines.weather.optics.filters import enlarged, reduced, smoothstep

USUAL_HEIGHT_M = 1.55  # camera above road, if the frame shows no ground
HEIGHTS_M = (0.6, 3.5)
MIN_UPRIGHT = 0.94  # cosine between the fitted normal and the camera's down
TOLERANCE_M = (0.12, 0.32)
FIT_RANGE_M = 40.0


@dataclass(frozen=True, slots=True)
class GroundPlane:
    """Ground plane normal_down . p = height_m, in camera coordinates."""

    normal_down: np.ndarray  # (3,) float64, unit
    height_m: float

    def inverse_depth(self, rays_x: np.ndarray, rays_y: np.ndarray) -> np.ndarray:
        """Inverse depth (H, W) in 1/m of the plane along each ray; <= 0 where they do not meet."""
        a, b, c = (self.normal_down / self.height_m).astype(np.float32)
        return a * rays_x + (b * rays_y + c)

    def y_m(self, x_m: float, z_m: float, above_m: float = 0.0) -> float:
        """Return y of the point at (x, z) that is `above_m` above the plane."""
        down = self.normal_down
        return (self.height_m - above_m - down[0] * x_m - down[2] * z_m) / down[1]


def pixel_rays(shape: tuple[int, ...], intrinsics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rays (x, y, 1) of pixel centres as x (1, W) and y (H, 1), float32."""
    columns, rows = np.arange(shape[1])[None], np.arange(shape[0])[:, None]
    x = (columns - intrinsics[0, 2]) / intrinsics[0, 0]
    y = (rows - intrinsics[1, 2]) / intrinsics[1, 1]
    return x.astype(np.float32), y.astype(np.float32)


def fit_ground(depth_m: np.ndarray, intrinsics: np.ndarray) -> GroundPlane:
    """Fit the ground to depth (H, W) in metres, sky = inf; a level plane if no ground is visible.

    Iteratively reweighted least squares on inverse depth with Tukey's weights.
    """
    stride = max(1, min(depth_m.shape) // 64)
    x, y = pixel_rays(depth_m.shape, intrinsics)
    depth = np.minimum(depth_m[::stride, ::stride], 1e6).astype(np.float64)
    x, y = np.broadcast_arrays(x[:, ::stride], y[::stride])
    below = y * depth
    usable = (depth < FIT_RANGE_M) & (below > HEIGHTS_M[0]) & (below < HEIGHTS_M[1])
    level = GroundPlane(np.array([0.0, 1.0, 0.0]), USUAL_HEIGHT_M)
    if np.count_nonzero(usable) < 50:
        return level
    rays = np.stack([x[usable], y[usable], np.ones(usable.sum())], axis=1)  # (N, 3)
    return _reweighted_plane(rays, depth[usable]) or level


def _reweighted_plane(rays: np.ndarray, depth: np.ndarray) -> GroundPlane | None:
    height = float(np.percentile(rays[:, 1] * depth, 60))
    plane = np.array([0.0, 1.0 / height, 0.0])  # (3,) inverse depth per ray component
    weight = np.zeros(len(depth))
    for cut in (0.35, 0.25, 0.2, 0.15, 0.1, 0.1):
        error = depth * (rays @ plane) - 1.0  # relative, so far points do not dominate
        weight = np.where(np.abs(error) < cut, (1 - (error / cut) ** 2) ** 2, 0.0)
        rows = rays * (depth * weight)[:, None]
        plane = np.linalg.lstsq(rows, weight, rcond=None)[0]
    norm = float(np.linalg.norm(plane))
    plausible = norm > 0 and HEIGHTS_M[0] < 1 / norm < HEIGHTS_M[1]
    if not plausible or plane[1] / norm < MIN_UPRIGHT or np.count_nonzero(weight) < 50:
        return None
    return GroundPlane(plane / norm, 1 / norm)


def height_above(plane: GroundPlane, depth_m: np.ndarray, plane_inverse: np.ndarray) -> np.ndarray:
    """Height (H, W) in metres of each pixel's point above the ground plane; large in the sky."""
    height = np.minimum(depth_m, np.float32(1e4)) * plane_inverse
    height *= np.float32(-plane.height_m)
    height += np.float32(plane.height_m)
    return height


def ground_weight(height_m: np.ndarray, plane_inverse: np.ndarray) -> np.ndarray:
    """Ground weight (H, W) in [0, 1]: 1 for pixels near the plane and below the horizon."""
    weight = 1 - smoothstep(np.abs(height_m), *TOLERANCE_M)
    weight *= smoothstep(plane_inverse, 1 / 120, 1 / 60)
    return cv2.blur(weight, (3, 3))


def surface_normals(depth_m: np.ndarray, intrinsics: np.ndarray, factor: int = 2) -> np.ndarray:
    """Unit normals (h, w, 3) towards the camera at 1 / factor of the size of depth (H, W)."""
    inverse = reduced(1 / depth_m, factor)
    inverse = cv2.blur(cv2.medianBlur(inverse, 5), (3, 3))
    height, width = inverse.shape
    scale = np.array([width / depth_m.shape[1], height / depth_m.shape[0], 1.0])
    small = intrinsics * scale[:, None]
    x, y = pixel_rays(inverse.shape, small)
    a = cv2.Sobel(inverse, cv2.CV_32F, 1, 0, scale=float(small[0, 0]) / 8)
    b = cv2.Sobel(inverse, cv2.CV_32F, 0, 1, scale=float(small[1, 1]) / 8)
    c = inverse - a * x - b * y
    length = -cv2.sqrt(a * a + b * b + c * c + np.float32(1e-14))
    return cv2.merge([a / length, b / length, c / length])


def upward_facing(depth_m: np.ndarray, intrinsics: np.ndarray, plane: GroundPlane) -> np.ndarray:
    """Cosine (H, W) between a surface's normal and up; undefined in the sky."""
    up = -plane.normal_down.astype(np.float32)
    cosine = cv2.transform(surface_normals(depth_m, intrinsics), up[None])
    return enlarged(cosine, depth_m.shape)
