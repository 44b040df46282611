"""Lamp posts: thin upright structures of the clear picture that stand before the sky."""

import cv2
import numpy as np

from nightrain.pipelines.engines.weather.optics.optical_scene import OpticalScene

THICKEST_SHARE = 1 / 60  # of the image's longer side
LEAST_HEIGHT_SHARE = 1 / 24  # of the image's height, before the sky
DARKER = 0.22  # least share of the sky's light that a post takes away
UPRIGHT = 3.5  # least ratio of height to width
TOP_M, USUAL_TOP_M = (3.5, 16.0), 8.0  # above the ground
UP_TO_M = 100.0


def post_tops_m(scene: OpticalScene) -> list[np.ndarray]:
    """Positions (3,) of the tops of posts, in camera coordinates in metres.

    Depth is often the sky's on a thing so thin; then the post is where one of the usual height
    would be.
    """
    thickest = max(3, round(max(scene.shape) * THICKEST_SHARE))
    across = np.ones((1, thickest), np.uint8)
    closed = cv2.morphologyEx(scene.luminance, cv2.MORPH_CLOSE, across)
    sky = cv2.morphologyEx(scene.sky, cv2.MORPH_CLOSE, across)
    thin = ((closed - scene.luminance > DARKER * closed) & (sky > 0.5)).astype(np.uint8)
    least = max(5, round(scene.shape[0] * LEAST_HEIGHT_SHARE))
    # Opening from top to bottom removes leaves and wires.
    thin = cv2.morphologyEx(thin, cv2.MORPH_OPEN, np.ones((least // 2, 1), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(thin, connectivity=8)
    found = list[np.ndarray]()
    for label in range(1, count):
        left, top, width, height, _ = stats[label].tolist()
        if top > 0 and height >= max(least, UPRIGHT * width):
            columns = np.nonzero(labels[top, left : left + width] == label)[0]
            depth_m = scene.depth_m[top : top + height, left : left + width]
            z = float(np.median(depth_m[labels[top : top + height, left : left + width] == label]))
            position = _top_m(scene, left + float(columns.mean()) + 0.5, top + 0.5, z)
            found += [position] if position is not None else []
    return found


def _top_m(scene: OpticalScene, u: float, v: float, z: float) -> np.ndarray | None:
    """Position (3,) of a post's top at a pixel; None if no lamp is that high or that far."""
    k, plane = scene.intrinsics, scene.plane
    ray = np.array([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], 1.0])
    rise = -float(ray @ plane.normal_down)  # per metre of depth
    if z > UP_TO_M:
        z = (USUAL_TOP_M - plane.height_m) / max(rise, 1e-6)
    height_m = plane.height_m + rise * z
    return ray * z if TOP_M[0] < height_m < TOP_M[1] and z < UP_TO_M else None
