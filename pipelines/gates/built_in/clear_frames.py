"""What gates keep of clear frames, so that each is looked at once for all of its variants."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np

MOST_KEPT = 32

Found = TypeVar("Found")


class OfClearFrames(Generic[Found]):
    """Function of a clear frame (H, W, 3) that keeps its last results."""

    def __init__(self, look: Callable[[np.ndarray], Found]) -> None:
        self._look = look
        self._kept: OrderedDict[bytes, Found] = OrderedDict()

    def __call__(self, image: np.ndarray) -> Found:
        """Return what the function finds in an image; images with equal bytes are one frame."""
        key = hashlib.sha256(image.tobytes()).digest()
        if key not in self._kept:
            self._kept[key] = self._look(image)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return self._kept[key]
