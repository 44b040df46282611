"""Edges of a picture by strength and direction, which gates compare with the clear frame's.

Light, fog and snow change how strong an edge is, and often which side is brighter, but not its
direction. So directions have doubled angles, in which both sides of an edge are equal.
"""

import cv2
import numpy as np

SIDE_PX = 448  # of the longer side, at which edges are compared
DARK_LEVEL = 8.0  # added to luma before its logarithm, so that noise in the dark is no edge
EDGE_SIGMA_PX, DIRECTION_SIGMA_PX = 1.2, 1.5

_last: tuple[tuple[np.ndarray, np.ndarray], ...] = ()  # images and their edges


def edge_directions(image: np.ndarray) -> np.ndarray:
    """Edges (2, h, w) of an image (H, W, 3): strength as length, doubled direction as angle.

    Those of the last two images are kept, so that several gates share them; an image must not
    change later.
    """
    global _last
    found = next((edges for seen, edges in _last if seen is image), None)
    if found is None:
        found = _edge_directions(image)
    others = tuple(one for one in _last if one[0] is not image)
    _last = (*others[-1:], (image, found))
    return found


def _edge_directions(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    scale = SIDE_PX / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    luma = cv2.resize(luma, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    smooth = cv2.GaussianBlur(np.log(luma + np.float32(DARK_LEVEL)), (0, 0), EDGE_SIGMA_PX)
    x, y = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    strength = cv2.magnitude(x, y) + np.float32(1e-6)
    parts = (x * x - y * y) / strength, 2 * x * y / strength
    return np.stack([cv2.GaussianBlur(part, (0, 0), DIRECTION_SIGMA_PX) for part in parts])
