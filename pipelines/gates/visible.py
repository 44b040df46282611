"""Visible part of a variant: what its condition leaves of the clear frame, at a gate's size."""

import cv2
import numpy as np

from nightrain.pipelines.engines.base import Variant

NEAR_SHARE = 1 / 64  # of the width: what is so near to something hidden is hidden, too


def visible_part(variant: Variant, shape: tuple[int, ...]) -> np.ndarray:
    """Return visibility (h, w) in [0, 1]; everything is visible where the engine does not know.

    The rim of something hidden, such as a drop's, counts as hidden.
    """
    if variant.visibility is None:
        return np.ones(shape, np.float32)
    small = cv2.resize(variant.visibility, shape[::-1], interpolation=cv2.INTER_AREA)
    side = 2 * round(shape[1] * NEAR_SHARE / 2) + 1
    return cv2.erode(small, np.ones((side, side), np.uint8))
