"""KITTI's evaluation crops, and the two orders in which they are applied.

KITTI Eigen results are reported on Garg's crop. Networks that were trained on KITTI benchmark crops
see only 352 x 1216 pixels, and code bases apply Garg's fractions either to the cropped ground truth
(`kb_then_garg`, as PixelFormer's loader does) or to the full one, into which the prediction is
pasted back (`garg_on_full_frame`, as BTS's stand-alone evaluation does). The two score different
pixels, so every result states its order.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

KB_SIZE = (1216, 352)
GARG_ROWS = (0.40810811, 0.99189189)  # shares of the height; Garg et al., ECCV 2016
EIGEN_ROWS = (0.3324324, 0.91351351)  # shares of the height; Eigen et al., NIPS 2014
COLUMNS = (0.03594771, 0.96405229)  # shares of the width, in both crops
MIN_DEPTH_M = 1e-3
MAX_DEPTH_M = 80.0

Order = Literal["kb_then_garg", "garg_on_full_frame"]


@dataclass(frozen=True, slots=True)
class Crop:
    """A rectangle of whole pixels in an image."""

    top: int
    left: int
    height: int
    width: int

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Return the part of (H, W, ...) inside the crop: (height, width, ...), a view."""
        return image[self.top : self.top + self.height, self.left : self.left + self.width]

    def paste(self, part: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Paste a part into zeros (H, W, ...) of `size` = (width, height), at the crop.

        The part is (height, width, ...). Raises ValueError for a part of another size.
        """
        if part.shape[:2] != (self.height, self.width):
            raise ValueError(f"the part is {part.shape[:2]}; expected {(self.height, self.width)}")
        full = np.zeros((size[1], size[0], *part.shape[2:]), part.dtype)
        self.apply(full)[:] = part
        return full

    def intrinsics(self, intrinsics: np.ndarray) -> np.ndarray:
        """Intrinsics (3, 3) of the cropped image, in pixels: the principal point moves."""
        cropped = np.array(intrinsics, np.float64)
        cropped[:2, 2] -= (self.left, self.top)
        return cropped


def kb_crop(size: tuple[int, int]) -> Crop:
    """KITTI benchmark crop of an image of `size` = (width, height): 352 x 1216, bottom centre.

    Raises ValueError for an image smaller than that.
    """
    width, height = size
    if width < KB_SIZE[0] or height < KB_SIZE[1]:
        raise ValueError(f"the image is {width}x{height}; the KITTI benchmark crop needs 1216x352")
    return Crop(height - KB_SIZE[1], (width - KB_SIZE[0]) // 2, KB_SIZE[1], KB_SIZE[0])


def garg_crop(size: tuple[int, int]) -> Crop:
    """Garg's crop of an image of `size` = (width, height); fractions are truncated, not rounded."""
    return _fractions(size, GARG_ROWS)


def eigen_crop(size: tuple[int, int]) -> Crop:
    """Eigen's crop of a KITTI image of `size` = (width, height), as reproduced by monodepth."""
    return _fractions(size, EIGEN_ROWS)


def kb_then_garg(size: tuple[int, int]) -> Crop:
    """Garg's fractions of the KB crop, in full-frame coordinates."""
    outer = kb_crop(size)
    inner = garg_crop(KB_SIZE)
    return Crop(outer.top + inner.top, outer.left + inner.left, inner.height, inner.width)


def garg_on_full_frame(size: tuple[int, int]) -> Crop:
    """Garg's fractions of the full frame, into which the prediction is pasted.

    A network that was given the KB crop has no prediction outside it, so the result is clipped to
    the KB crop; for KITTI's five image sizes this changes nothing.
    """
    outer, inner = kb_crop(size), garg_crop(size)
    top, left = max(outer.top, inner.top), max(outer.left, inner.left)
    bottom = min(outer.top + outer.height, inner.top + inner.height)
    right = min(outer.left + outer.width, inner.left + inner.width)
    return Crop(top, left, bottom - top, right - left)


ORDERS: Mapping[Order, Callable[[tuple[int, int]], Crop]] = {
    "kb_then_garg": kb_then_garg,
    "garg_on_full_frame": garg_on_full_frame,
}


def evaluation_mask(
    depth_m: np.ndarray,
    order: Order,
    *,
    min_depth_m: float = MIN_DEPTH_M,
    max_depth_m: float = MAX_DEPTH_M,
) -> np.ndarray:
    """Mask (H, W) of the scored pixels of full-frame ground truth (H, W) in metres.

    Depth strictly between the bounds, inside the crop of the named order (PixelFormer's protocol).
    Raises ValueError for an unknown order.
    """
    if order not in ORDERS:
        raise ValueError(f"Found crop order {order!r}; expected {' or '.join(ORDERS)}.")
    crop = ORDERS[order]((depth_m.shape[1], depth_m.shape[0]))
    inside = np.zeros(depth_m.shape, bool)
    crop.apply(inside)[:] = True
    return inside & (depth_m > min_depth_m) & (depth_m < max_depth_m)


def _fractions(size: tuple[int, int], rows: tuple[float, float]) -> Crop:
    width, height = size
    top, bottom = int(rows[0] * height), int(rows[1] * height)
    left, right = int(COLUMNS[0] * width), int(COLUMNS[1] * width)
    return Crop(top, left, bottom - top, right - left)
