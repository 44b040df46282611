"""Simple corruptions: the baseline that generated variants must beat.

Darkening by gamma, gain and noise; blur; loss of contrast as in uniform fog. They ignore depth,
light sources and wet roads. Ranges are chosen to be as wide as plausible weather.
"""

from typing import Annotated, Literal

import cv2
import numpy as np
from pydantic import Field

from nightrain.datasets.conditions import Condition
from nightrain.datasets.loader.augment import add_noise
from nightrain.datasets.validation import Settings

Kind = Literal["darkening", "blur", "contrast-loss"]

# The condition that a corruption stands in for, so that the arms are counted in the same rows.
STANDS_FOR: dict[Kind, Condition] = {
    "darkening": Condition.NIGHT,
    "blur": Condition.RAIN,
    "contrast-loss": Condition.FOG,
}
Range = tuple[float, float]


class Corruptions(Settings):
    """Kinds of corruption, drawn uniformly, and the ranges of their strengths."""

    kinds: Annotated[tuple[Kind, ...], Field(min_length=1)] = tuple(STANDS_FOR)
    gamma: Range = (1.2, 2.4)
    gain: Range = (0.15, 0.6)
    noise_std: tuple[float, ...] = (0.01, 0.02, 0.04)  # for pixel values in [0, 1]; one is drawn
    blur_of_width: Range = (0.002, 0.006)  # sigma / width
    contrast: Range = (0.2, 0.7)
    airlight: Range = (0.55, 0.9)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Conditions that the kinds stand in for, in order."""
        return tuple(STANDS_FOR[kind] for kind in self.kinds)

    def apply(self, kind: Kind, image: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Corrupt (H, W, 3) uint8 sRGB; numbers (4 or more,) in [0, 1) set the strengths."""
        a, b, c, place = values[:4].tolist()
        if kind == "blur":
            sigma = _between(self.blur_of_width, a) * image.shape[1]
            return cv2.GaussianBlur(image, (0, 0), sigma)
        levels = np.arange(256) / 255.0
        if kind == "contrast-loss":
            contrast, airlight = _between(self.contrast, a), _between(self.airlight, b)
            return cv2.LUT(image, _as_bytes(contrast * levels + (1.0 - contrast) * airlight))
        dark = _between(self.gain, b) * levels ** _between(self.gamma, a)
        noise_std = self.noise_std[int(c * len(self.noise_std))]
        return add_noise(cv2.LUT(image, _as_bytes(dark)), 0.0, noise_std, place)


def _between(limits: Range, share: float) -> float:
    return limits[0] + (limits[1] - limits[0]) * share


def _as_bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values * 255.0), 0, 255).astype(np.uint8)
