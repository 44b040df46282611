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
    mask: np.ndarray,
    scene: OpticalScene,
    *,
    width_m: tuple[float, float],
    height_m: tuple[float, float],
    least_px: int,
    largest_share: float,
    least_fill: float,
) -> Iterator[Region]:
    """Yield the connected regions of a mask (H, W) bool that have a size and a compact shape.

    A region has at least `least_px` pixels, its box at most `largest_share` of the picture, of
    which the region covers at least `least_fill`. Regions whose depth is the sky's are left out.
    """
    _, labels, stats, centres = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8
    )
    of_box = stats[:, 2] * stats[:, 3]
    area = stats[:, 4]
    fits = (
        (area >= least_px) & (of_box <= largest_share * mask.size) & (area >= least_fill * of_box)
    )
    fits[0] = False  # the pixels outside of the mask
    k = scene.intrinsics
    for label in np.nonzero(fits)[0]:
        left, top, width, height, _ = stats[label].tolist()
        box = slice(top, top + height), slice(left, left + width)
        pixels = labels[box] == label
        z = float(np.median(scene.depth_m[box][pixels]))
        wide_m, high_m = width * z / float(k[0, 0]), height * z / float(k[1, 1])
        has_size = width_m[0] < wide_m < width_m[1] and height_m[0] < high_m < height_m[1]
        if z >= FAR_M or not has_size:
            continue
        u, v = centres[label]
        yield Region(
            box=box,
            pixels=pixels,
            position_m=np.array([(u - k[0, 2]) * z / k[0, 0], (v - k[1, 2]) * z / k[1, 1], z]),
            width_m=wide_m,
            height_m=high_m,
            above_ground_m=float(np.median(scene.height_m[box][pixels])),
        )
