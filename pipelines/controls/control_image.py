"""Depth control images, in the form that ControlNet was trained on."""

import numpy as np

from nightrain.pipelines.controls.depth_source import (
    DepthInput,
    DepthSource,
    RelativeDepth,
    at_size,
)
from nightrain.pipelines.controls.polarity import assert_near_is_white
from nightrain.pipelines.controls.settings import Scaling

PERCENTILES = (2.0, 98.0)


def depth_control(
    source: DepthSource, scene: DepthInput, size: tuple[int, int], scaling: Scaling = "min-max"
) -> np.ndarray:
    """Return the control image (height, width, 3) uint8 at exactly `size` = (width, height).

    Raises WrongPolarity for a map of inverted polarity, and whatever the source raises. Before a
    run, `polarity.require_near_is_white` tests that the source sees a road at all.
    """
    found = source.depth(scene)
    assert_near_is_white(found.inverse_depth, road_in_view=False)
    return depth_image(found, size, scaling)


def depth_image(
    depth: RelativeDepth, size: tuple[int, int], scaling: Scaling = "min-max"
) -> np.ndarray:
    """Grey image of depth (height, width, 3) uint8: near white, far and sky black.

    "min-max" scales each image by its extremes, as SSD does; "percentile" clips 2 % of the pixels
    at either end, so that the car's own bonnet does not darken the street. A flat map is black.
    """
    inverse = at_size(depth.inverse_depth, size)
    sky = _sky(depth, size)
    seen = inverse if sky is None or sky.all() else inverse[~sky]
    if scaling == "min-max":
        low, high = float(seen.min()), float(seen.max())
    else:
        low, high = (float(x) for x in np.percentile(seen, PERCENTILES))
    if high <= low:
        grey = np.zeros(inverse.shape, np.uint8)
    else:
        scaled = np.clip((inverse.astype(np.float64) - low) / (high - low), 0.0, 1.0)
        grey = np.rint(255.0 * scaled).astype(np.uint8)
    if sky is not None:
        grey[sky] = 0
    return np.repeat(grey[:, :, None], 3, axis=2)


def _sky(depth: RelativeDepth, size: tuple[int, int]) -> np.ndarray | None:
    """Sky mask (height, width) bool at the size of the control image; None if unknown."""
    return None if depth.sky is None else at_size(depth.sky.astype(np.float32), size) > 0.5
