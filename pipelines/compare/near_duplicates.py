"""Near-duplicates among variants: within a frame, and across frames that look different.

Pictures are compared as thumbnails, so that grain and coding do not part copies. Two variants of
one frame that show the same are worth one; two frames with the same picture have a wrong label, at
least one of them.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import cv2
import numpy as np
from pydantic import BaseModel

THUMBNAIL = (28, 16)  # width, height
OF_CLEAR = 0.25  # of the difference of the clear frames, that of copies is below
BLOCK = 2048


class NearDuplicate(BaseModel):
    """Two variants that show the same; the second one is redundant."""

    first: str  # sample ids
    second: str
    scope: Literal["within a frame", "across frames"]
    difference: float  # of the thumbnails: root of the mean square, in levels


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Mean colours (16 * 28 * 3,) float32 of the tiles of an image (H, W, 3) uint8."""
    return cv2.resize(image, THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32).ravel()


def near_duplicates(
    sample_ids: Sequence[str],
    frame: np.ndarray,
    variants: np.ndarray,
    clear: np.ndarray,
    most: float,
) -> Iterator[NearDuplicate]:
    """Yield pairs of variants whose thumbnails differ by less than `most` levels.

    Variant i, with thumbnail `variants` (N, K), is one of frame `frame[i]`, whose own thumbnail is
    in `clear` (M, K). A pair across frames counts where the frames differ by four times as much as
    the variants: a vehicle that stands still gives frames and variants that are rightly alike.
    """
    for first, second, difference in _close_pairs(variants, most):
        scope = "within a frame"
        if frame[first] != frame[second]:
            apart = _root_mean_square(clear[frame[first]] - clear[frame[second]])
            if difference >= OF_CLEAR * apart:
                continue
            scope = "across frames"
        yield NearDuplicate(
            first=sample_ids[first],
            second=sample_ids[second],
            scope=scope,
            difference=round(difference, 2),
        )


def _close_pairs(values: np.ndarray, most: float) -> Iterator[tuple[int, int, float]]:
    """Pairs i < j of rows (N, K) float32 that differ by less than `most`, by blocks of products."""
    centred = values - values.mean(axis=0) if len(values) else values
    squares = (centred * centred).sum(axis=1)
    # What rounding of the products can hide is found again below, from the rows themselves.
    bound = (most * most + 0.1) * values.shape[1] if values.ndim == 2 else 0.0
    for start in range(0, len(values), BLOCK):
        a = centred[start : start + BLOCK]
        for begin in range(start, len(values), BLOCK):
            b = centred[begin : begin + BLOCK]
            apart = squares[start : start + BLOCK, None] + squares[begin : begin + BLOCK]
            apart -= 2 * (a @ b.T)
            for row, column in np.argwhere(apart < bound):
                first, second = start + int(row), begin + int(column)
                if first < second:
                    found = _root_mean_square(values[first] - values[second])
                    if found < most:
                        yield first, second, found


def _root_mean_square(difference: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(difference, dtype=np.float64))))
