"""What gates keep of clear frames, so that each is looked at once for all of its variants."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np

MOST_BYTES = 64 * 2**20  # depth of some 250 frames: more than a shard has

Found = TypeVar("Found", bound=np.ndarray | list[np.ndarray])


class OfClearFrames(Generic[Found]):
    """Function of a clear frame (H, W, 3) to arrays that keeps its last results.

    A shard of frames is followed by the same frames under the next condition, so that results have
    to be kept for as many frames as a shard has.
    """

    def __init__(self, look: Callable[[np.ndarray], Found], most_bytes: int = MOST_BYTES) -> None:
        self._look = look
        self._most_bytes = most_bytes
        self._num_bytes = 0
        self._kept: OrderedDict[bytes, Found] = OrderedDict()

    def __call__(self, image: np.ndarray) -> Found:
        """Return what the function finds in an image; images with equal bytes are one frame."""
        key = hashlib.sha256(image.tobytes()).digest()
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        found = self._kept[key] = self._look(image)
        self._num_bytes += _num_bytes(found)
        while self._num_bytes > self._most_bytes and self._kept:
            self._num_bytes -= _num_bytes(self._kept.popitem(last=False)[1])
        return found


def _num_bytes(found: np.ndarray | list[np.ndarray]) -> int:
    return sum(one.nbytes for one in (found if isinstance(found, list) else [found]))
