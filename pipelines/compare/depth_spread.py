"""Spread of a network's depth over the variants of one frame, as a score of each variant."""

from collections.abc import Sequence

import cv2
import numpy as np
from pydantic import BaseModel

from nightrain.pipelines.usefulness.stability import variation


class DepthSpread(BaseModel):
    """Variation of depth over a frame and its variants (docs/papers/study_statistics.md, eq. 7)."""

    num_frames: int
    mean_dv: float  # mean variation over images, then over frames; 0.1 is 10 %
    max_piv: float  # largest variation of an image, mean over frames
    by_condition: dict[str, float]  # mean variation of the variants
    worst: dict[str, float]  # the sample ids that vary most, with their variation


class SpreadOfFrames:
    """Collects the variation of each variant."""

    def __init__(self) -> None:
        self.of_variant: dict[str, float] = {}
        self._condition: dict[str, str] = {}
        self._of_frame: list[np.ndarray] = []

    def add_frame(self, clear: np.ndarray, variants: Sequence[tuple[str, str, np.ndarray]]) -> None:
        """Add depths (h, w) in metres: of a clear frame, and of its variants.

        Variants come with their sample ids and conditions; depth of another size is resized.
        """
        size = clear.shape[::-1]
        maps = [clear, *(cv2.resize(depth_m, size) for _, _, depth_m in variants)]
        found = variation(maps)
        self._of_frame.append(found)
        for (sample_id, condition, _), value in zip(variants, found[1:], strict=True):
            self.of_variant[sample_id] = float(value)
            self._condition[sample_id] = condition

    def result(self, num_worst: int) -> DepthSpread | None:
        """Summarise; None without any frame."""
        if not self._of_frame:
            return None
        of_condition: dict[str, list[float]] = {}
        for sample_id, value in self.of_variant.items():
            of_condition.setdefault(self._condition[sample_id], []).append(value)
        worst = sorted(self.of_variant.items(), key=lambda item: -item[1])[:num_worst]
        return DepthSpread(
            num_frames=len(self._of_frame),
            mean_dv=float(np.mean([values.mean() for values in self._of_frame])),
            max_piv=float(np.mean([values.max() for values in self._of_frame])),
            by_condition={name: float(np.mean(found)) for name, found in of_condition.items()},
            worst={name: round(value, 4) for name, value in worst},
        )
