"""Ground mirror: reflections in wet ground, by ray marching through the depth map."""

from dataclasses import dataclass

import cv2
import numpy as np

from nightrain.pipelines.engines.weather.optics.filters import dot, reduced
from nightrain.pipelines.engines.weather.optics.ground import pixel_rays
from nightrain.pipelines.engines.weather.optics.optical_scene import FAR_M, OpticalScene

FACTOR = 3  # rays are marched at a third of the resolution
FIRST_STEP_M, LAST_STEP_M, NUM_STEPS = 0.3, 150.0, 22
NUM_REFINEMENTS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """Reflected image at reduced resolution: sharp, and blurred by a rough film."""

    sharp: np.ndarray  # (h, w, 3) float32, linear light
    rough: np.ndarray  # (h, w, 3) float32, linear light
    path_m: np.ndarray  # (h, w) float32, from the ground to the reflected surface


def mirrored(light: np.ndarray, scene: OpticalScene, smear: float = 1 / 18) -> Mirror:
    """Mirror linear light (H, W, 3) in the ground plane, for every pixel that shows ground.

    `smear` is the rough film's blur along the line of sight, as a share of the image's height.
    """
    small = reduced(light, FACTOR)
    shape = small.shape[:2]
    ground = reduced(scene.ground, FACTOR) > 0.02
    if not ground.any():
        empty = np.zeros(shape, np.float32)
        return Mirror(sharp=np.zeros_like(small), rough=np.zeros_like(small), path_m=empty)
    depth = cv2.resize(scene.depth_m, shape[::-1], interpolation=cv2.INTER_NEAREST)
    depth[ground] = FAR_M  # the ground does not occlude reflected objects
    origin, direction = _reflected_rays(scene, ground)
    path_m = _first_hit(origin, direction, depth)
    u, v = _pixels(origin + direction * path_m)
    source = np.zeros((2, *shape), np.float32)
    source[0][ground], source[1][ground] = u, v
    sharp = cv2.remap(
        small, source[0], source[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    sharp *= ground[..., None]
    path = np.zeros(shape, np.float32)
    path[ground] = np.minimum(path_m, FAR_M)
    return Mirror(sharp=sharp, rough=_smeared(sharp, ground, smear), path_m=path)


def _reflected_rays(scene: OpticalScene, ground: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points on the plane and mirrored unit directions of ground pixels, both (3, N).

    In pixel units, that is, multiplied by the reduced intrinsics, so that (u, v) = (a, b) / c.
    """
    shape = ground.shape
    scale = np.array([shape[1] / scene.shape[1], shape[0] / scene.shape[0], 1.0])
    k = scene.intrinsics * scale[:, None]
    k[:2, 2] += 0.5 * scale[:2] - 0.5
    x, y = np.broadcast_arrays(*pixel_rays(shape, k))
    rays = np.stack([x[ground], y[ground], np.ones_like(x[ground])])  # (3, N)
    normal = scene.plane.normal_down.astype(np.float32)
    into_ground = np.maximum(normal @ rays, np.float32(1e-4))
    origin = rays * (np.float32(scene.plane.height_m) / into_ground)
    unit = rays / np.sqrt(dot(rays, rays))
    k = k.astype(np.float32)
    return k @ origin, k @ (unit - 2 * normal[:, None] * (normal @ unit))


def _pixels(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Column and row (N,) of points (3, N) in pixel units."""
    inverse = 1 / np.maximum(points[2], np.float32(1e-3))
    return points[0] * inverse, points[1] * inverse


def _is_behind(points: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Whether points (3, N) are behind the surface in the depth map (h, w)."""
    u, v = _pixels(points)
    height, width = depth.shape
    inside = (u > -0.5) & (u < width - 0.5) & (v > -0.5) & (v < height - 0.5)
    inside &= points[2] > 0
    column = np.clip(u + np.float32(0.5), 0, width - 1).astype(np.int32)
    row = np.clip(v + np.float32(0.5), 0, height - 1).astype(np.int32)
    return inside & (points[2] > depth[row, column])


def _first_hit(origin: np.ndarray, direction: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Distance in metres (N,) along each ray to the first surface; FAR_M if it hits none."""
    steps = np.geomspace(FIRST_STEP_M, LAST_STEP_M, NUM_STEPS).astype(np.float32)
    near = np.zeros(origin.shape[1], np.float32)
    far = np.full(origin.shape[1], FAR_M, np.float32)
    rays, start, along, previous = np.arange(origin.shape[1]), origin, direction, np.float32(0)
    for step in steps:
        hit = _is_behind(start + along * step, depth)
        found = rays[hit]
        near[found], far[found] = previous, step
        rays, start, along, previous = rays[~hit], start[:, ~hit], along[:, ~hit], step
    hits = np.flatnonzero(far < FAR_M)
    start, along = origin[:, hits], direction[:, hits]
    for _ in range(NUM_REFINEMENTS):
        middle = 0.5 * (near[hits] + far[hits])
        behind = _is_behind(start + along * middle, depth)
        far[hits[behind]], near[hits[~behind]] = middle[behind], middle[~behind]
    return far


def _smeared(sharp: np.ndarray, ground: np.ndarray, smear: float) -> np.ndarray:
    """Blur within the ground only, more along the line of sight than across (Ward 1992)."""
    down = max(1.0, sharp.shape[0] * smear)
    kernel = {"ksize": (0, 0), "sigmaX": min(max(0.6, down / 6), 1.2), "sigmaY": down}
    share = cv2.GaussianBlur(ground.astype(np.float32), **kernel)
    blurred = cv2.GaussianBlur(sharp, **kernel)
    return blurred / np.maximum(share, 0.02)[..., None]
