"""Regions of a mask with their size in metres, for things that are found in the clear picture."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from nightrain.pipelines.engines.weather.optics.optical_scene import FAR_M, OpticalScene


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Connected pixels of a mask, and where they are in the scene."""

    box: tuple[slice, slice]  # rows, columns
    pixels: np.ndarray  # (h, w) bool, within the box
    position_m: np.ndarray  # (3,) camera coordinates
    width_m: float
    height_m: float
    above_ground_m: float


def regions(
    mask: np.ndarray, scene: OpticalScene, *, least_px: int, most_px: float, least_fill: float
) -> Iterator[Region]:
    """Yield the connected regions of a mask (H, W) bool that have a size and a compact shape.

    `least_px` and `most_px` bound the pixels of a region and of its box; `least_fill` is the share
    of the box that it covers. Regions whose depth is the sky's are left out.
    """
    _, labels, stats, centres = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8
    )
    of_box = stats[:, 2] * stats[:, 3]
    area = stats[:, 4]
    fits = (area >= least_px) & (of_box <= most_px) & (area >= least_fill * of_box)
    fits[0] = False  # the pixels outside of the mask
    k = scene.intrinsics
    for label in np.nonzero(fits)[0]:
        left, top, width, height, _ = stats[label].tolist()
        box = slice(top, top + height), slice(left, left + width)
        pixels = labels[box] == label
        z = float(np.median(scene.depth_m[box][pixels]))
        if z >= FAR_M:
            continue
        u, v = centres[label]
        yield Region(
            box=box,
            pixels=pixels,
            position_m=np.array([(u - k[0, 2]) * z / k[0, 0], (v - k[1, 2]) * z / k[1, 1], z]),
            width_m=width * z / float(k[0, 0]),
            height_m=height * z / float(k[1, 1]),
            above_ground_m=float(np.median(scene.height_m[box][pixels])),
        )
