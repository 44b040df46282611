"""md4all's augmentations of the network's input, and the flip of a whole sample.

Settings from md4all's published configuration (md4all, eq. 12, docs/papers/md4all.md). There the
depth network's input is flipped and its output flipped back; here the whole sample is flipped, with
its geometry.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Strength = Annotated[float, Field(ge=0.0, le=0.9)]

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
AT_INPUT = ("shown_intrinsics", "stereo_intrinsics")  # the others are at the size of the losses
_NOISE_SEED = 0x0153


class Augmentation(BaseModel):
    """How much is drawn: factors 1 +- brightness, contrast and saturation; hue in turns."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    brightness: Strength = 0.2
    contrast: Strength = 0.2
    saturation: Strength = 0.2
    hue: Annotated[float, Field(ge=0.0, le=0.5)] = 0.05
    noise_probability: Probability = 0.5
    noise_mean: float = 0.005  # of pixel values in [0, 1]
    noise_std: Annotated[float, Field(ge=0.0, le=0.1)] = 0.045
    blur_probability: Probability = 0.0
    blur_sigma_px: tuple[float, float] = (0.3, 1.5)
    flip_probability: Probability = 0.5

    def draw(self, values: np.ndarray) -> "DrawnAugmentation":
        """What numbers (9 or more,) in [0, 1) mean; each has its own use, whatever is off."""
        signed = 2.0 * values - 1.0
        low, high = self.blur_sigma_px
        return DrawnAugmentation(
            brightness=1.0 + self.brightness * signed[0],
            contrast=1.0 + self.contrast * signed[1],
            saturation=1.0 + self.saturation * signed[2],
            hue_turns=self.hue * signed[3],
            noise_mean=self.noise_mean if values[4] < self.noise_probability else 0.0,
            noise_std=self.noise_std if values[4] < self.noise_probability else 0.0,
            noise_place=values[5],
            blur_sigma_px=low + (high - low) * values[7]
            if values[6] < self.blur_probability
            else 0,
            flip=bool(values[8] < self.flip_probability),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnAugmentation:
    """What one sample gets; the defaults change nothing."""

    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue_turns: float = 0.0
    noise_mean: float = 0.0
    noise_std: float = 0.0
    noise_place: float = 0.0  # in [0, 1]: where in the field of noise
    blur_sigma_px: float = 0.0
    flip: bool = False

    def of_sample(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """A sample's arrays (see `samples`) with its input augmented, and all of it flipped."""
        arrays = {**arrays, "image": self.of_picture(arrays["image"])}
        return flip_sample(arrays) if self.flip else arrays

    def of_picture(self, image: np.ndarray) -> np.ndarray:
        """Jitter, then noise, then blur of (H, W, 3) uint8 sRGB; the flip is not applied here."""
        colour = jitter_matrix(
            self.brightness, self.contrast, self.saturation, self.hue_turns, _mean_luma(image)
        )
        image = cv2.transform(image, colour)
        if self.noise_mean or self.noise_std:
            image = add_noise(image, self.noise_mean, self.noise_std, self.noise_place)
        if self.blur_sigma_px > 0:
            image = cv2.GaussianBlur(image, (0, 0), self.blur_sigma_px)
        return image


def jitter_matrix(
    brightness: float, contrast: float, saturation: float, hue_turns: float, mean_luma: float
) -> np.ndarray:
    """Colour jitter as one affine map (3, 4) of RGB in [0, 255].

    Brightness scales; contrast scales about the picture's mean luma; saturation about each
    pixel's luma; hue turns colours about the grey axis (Rodrigues), which leaves grey grey.
    """
    angle = 2.0 * math.pi * hue_turns
    gain, coloured = contrast * brightness, contrast * brightness * saturation
    # Rodrigues about (1, 1, 1) / sqrt(3): every row holds the same three numbers, moved by one.
    along = coloured * (1.0 - math.cos(angle)) / 3.0
    across = coloured * math.sin(angle) / math.sqrt(3.0)
    same, after, before = along + coloured * math.cos(angle), along - across, along + across
    r, g, b = (gain * (1.0 - saturation) * weight for weight in LUMA)  # grey: no turn moves it
    shift = (1.0 - contrast) * brightness * mean_luma  # grey, too
    rows = [
        [same + r, after + g, before + b, shift],
        [before + r, same + g, after + b, shift],
        [after + r, before + g, same + b, shift],
    ]
    return np.array(rows)


def add_noise(image: np.ndarray, mean: float, std: float, place: float) -> np.ndarray:
    """x + (mean + std n), n ~ N(0, 1), x in [0, 1], clamped; (H, W, 3) uint8 in and out.

    n is a stretch, begun at `place` in [0, 1], of one fixed field of normal draws: drawing afresh
    would cost more than decoding the picture.
    """
    lighter, darker = _noise_fields(_field_length(image.size), mean, std)
    begin = int(place * (len(lighter) - image.size))
    stretch = slice(begin, begin + image.size)
    image = cv2.add(image, lighter[stretch].reshape(image.shape))
    return cv2.subtract(image, darker[stretch].reshape(image.shape))


def _field_length(num_values: int) -> int:
    return 1 << (4 * num_values - 1).bit_length()  # at least four times as long as a picture


@lru_cache(maxsize=4)
def _noise_fields(length: int, mean: float, std: float) -> tuple[np.ndarray, np.ndarray]:
    """Noise in steps of 1/255, what adds and what takes away: two of (length,) uint8.

    Bytes with bytes are saturated at once, many in a step; with signed numbers, one by one.
    """
    normal = np.random.default_rng(_NOISE_SEED).standard_normal(length, np.float32)
    noise = np.clip(np.rint((mean + std * normal) * 255.0), -127, 127)
    return np.maximum(noise, 0).astype(np.uint8), np.maximum(-noise, 0).astype(np.uint8)


def _mean_luma(image: np.ndarray) -> float:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)  # the same weights
    return cv2.norm(grey, cv2.NORM_L1) / grey.size


def flip_sample(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A sample's arrays as in a mirror, so that every reprojection among them still agrees.

    Pictures (h, w, 3) and maps (h, w) turn left to right; intrinsics (3, 3), which are those of
    the size of `target`, or of `image` where they are `AT_INPUT`, and transforms `T_...` (4, 4)
    follow; flags `has_...` stay.
    """
    flipped = {}
    for name, values in arrays.items():
        if name.endswith("intrinsics"):
            of_size = arrays["image" if name in AT_INPUT else "target"]
            flipped[name] = flipped_intrinsics(values, of_size.shape[1])
        elif name.startswith("T_"):
            flipped[name] = flipped_transform(values)
        else:
            flipped[name] = values if name.startswith("has_") else cv2.flip(values, 1)
    return flipped


def flipped_intrinsics(intrinsics: np.ndarray, width: int) -> np.ndarray:
    """Intrinsics (3, 3) of the mirrored picture: cx' = width - 1 - cx, the skew turns its sign.

    The mirrored scene is F X with F = diag(-1, 1, 1), and pixels are u' = width - 1 - u = A u:
    K' = A K F.
    """
    mirrored = np.array(intrinsics, np.float64)
    mirrored[0] = (width - 1.0) * mirrored[2] - mirrored[0]
    mirrored[:, 0] *= -1.0
    return mirrored


def flipped_transform(transform: np.ndarray) -> np.ndarray:
    """A rigid transform (4, 4) between two mirrored cameras: F T F, F = diag(-1, 1, 1, 1)."""
    sign = np.array([-1.0, 1.0, 1.0, 1.0])
    return sign[:, None] * transform * sign
