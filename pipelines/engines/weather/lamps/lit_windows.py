"""Lit windows: grey rectangles in rows on the fronts of houses in the clear picture."""

import cv2
import numpy as np

from nightrain.pipelines.engines.weather.lamps.regions import Region, regions
from nightrain.pipelines.engines.weather.optics.optical_scene import OpticalScene

DARKER_THAN_WALL, WALL_SHARE = 0.62, 1 / 14  # of the mean over a share of the longer side
EDGE = 0.035  # step of the root of luminance from pixel to pixel that bounds a pane
WIDTH_M, HEIGHT_M = (0.35, 3.5), (0.45, 3.2)
ABOVE_GROUND_M = 0.9  # of a window's middle
DEPTH_M = (5.0, 160.0)
LEAST_FILL, LEAST_PX = 0.7, 8
MOST_CHROMA = 0.4  # (max - min) / max of linear light: glass is grey, bricks and leaves are not
LARGEST_SHARE = 1 / 60  # of the picture; a larger region is no window at its depth
NEIGHBOUR_M, SIZE_RATIO = 12.0, 2.0  # windows come in rows of one size
FEW_ABOVE_M, FEW, MANY = 3.2, 1, 3  # neighbours; low panes may be those of vehicles
LIT_SHARE = (0.25, 0.6)  # of the windows of one picture
LIGHT = (1.5, 8.0)  # full scales of the night's exposure
COLOURS = np.array([[1.35, 0.96, 0.55], [1.15, 1.0, 0.78], [0.93, 1.01, 1.15]], np.float32)
COLOUR_SHARES = (0.55, 0.3, 0.15)


def add_lit_windows(light: np.ndarray, scene: OpticalScene, rng: np.random.Generator) -> None:
    """Light up some of the windows in linear light (H, W, 3), in place."""
    share = rng.uniform(*LIT_SHARE)
    for window in find_windows(scene):
        is_lit = rng.uniform() < share
        strength = np.exp(rng.uniform(*np.log(LIGHT)))
        colour = COLOURS[rng.choice(3, p=COLOUR_SHARES)] * np.float32(strength)
        if is_lit:
            # Frames, curtains and mullions of the picture stay visible.
            pane = scene.luminance[window.box]
            pattern = 0.5 + 0.5 * np.minimum(pane / max(float(pane.mean()), 1e-4), 2.0)
            light[window.box] += (_grown(window.pixels) * pattern)[..., None] * colour


def find_windows(scene: OpticalScene) -> list[Region]:
    """Find grey rectangles of a window's size, with others of that size nearby.

    A window is darker than its wall, or a pane that is flat within its frame.
    """
    is_wall = (scene.depth_m > DEPTH_M[0]) & (scene.depth_m < DEPTH_M[1])
    is_wall &= (scene.ground < 0.1) & (scene.sky < 0.3) & (scene.height_m > ABOVE_GROUND_M / 2)
    red, green, blue = cv2.split(scene.clear)
    brightest = cv2.max(cv2.max(red, green), blue)
    darkest = cv2.min(cv2.min(red, green), blue)
    is_wall &= darkest > np.float32(1 - MOST_CHROMA) * brightest
    found = list[Region]()
    for mask in (_is_dark(scene.luminance, scene.sky), _is_flat(scene.luminance)):
        found += [
            region
            for region in regions(
                mask & is_wall,
                scene,
                width_m=WIDTH_M,
                height_m=HEIGHT_M,
                least_px=LEAST_PX,
                largest_share=LARGEST_SHARE,
                least_fill=LEAST_FILL,
            )
            if region.above_ground_m > ABOVE_GROUND_M
        ]
    return _in_rows(found)


def _is_dark(luminance: np.ndarray, sky: np.ndarray) -> np.ndarray:
    """Whether a pixel is darker than what is around it, without the sky."""
    side = max(3, round(max(luminance.shape) * WALL_SHARE))
    solid = 1 - sky
    around = cv2.blur(luminance * solid, (side, side), borderType=cv2.BORDER_REFLECT)
    share = cv2.blur(solid, (side, side), borderType=cv2.BORDER_REFLECT)
    return luminance * share < np.float32(DARKER_THAN_WALL) * around


def _is_flat(luminance: np.ndarray) -> np.ndarray:
    root, kernel = cv2.sqrt(luminance), np.ones((3, 3), np.uint8)
    return cv2.dilate(root, kernel) - cv2.erode(root, kernel) < EDGE


def _in_rows(found: list[Region]) -> list[Region]:
    """Keep regions with enough neighbours of about their size."""
    if not found:
        return []
    positions_m = np.array([region.position_m for region in found])
    sizes = np.log([[region.width_m, region.height_m] for region in found])
    apart_m = np.linalg.norm(positions_m[:, None] - positions_m[None], axis=2)
    # Both masks may have found a window: it is no neighbour of itself.
    near = (apart_m < NEIGHBOUR_M) & (apart_m > 0.5 * np.exp(sizes[:, 0]))
    alike = np.abs(sizes[:, None] - sizes[None]).max(axis=2) < np.log(SIZE_RATIO)
    neighbours = (near & alike).sum(axis=1)
    return [
        region
        for region, n in zip(found, neighbours, strict=True)
        if n >= (FEW if region.above_ground_m > FEW_ABOVE_M else MANY)
    ]


def _grown(pixels: np.ndarray) -> np.ndarray:
    """Pixels (h, w) float32 with the holes of a pane closed."""
    whole = cv2.morphologyEx(pixels.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    return whole.astype(np.float32)
