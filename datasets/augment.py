"""md4all's augmentations of the network's input, and the flip of a whole sample.

Settings from md4all's published configuration (ssd.md 2.6). There a flip turns the depth network's
input and turns its output back; here the whole sample flips, so the geometry must follow.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Strength = Annotated[float, Field(ge=0.0, le=0.9)]

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_LUMA_OF_EACH = np.tile(LUMA, (3, 1))
_ACROSS = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3.0)  # cross product with grey
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
    angle = 2.0 * np.pi * hue_turns
    turn = np.eye(3) + np.sin(angle) * _ACROSS + (1.0 - np.cos(angle)) * _ACROSS @ _ACROSS
    saturate = saturation * np.eye(3) + (1.0 - saturation) * _LUMA_OF_EACH
    linear = contrast * brightness * turn @ saturate  # (3, 3)
    shift = (1.0 - contrast) * brightness * mean_luma  # grey, which turn and saturate keep
    return np.hstack([linear, np.full((3, 1), shift)])


def add_noise(image: np.ndarray, mean: float, std: float, place: float) -> np.ndarray:
    """x + (mean + std n), n ~ N(0, 1), x in [0, 1], clamped; (H, W, 3) uint8 in and out.

    n is a stretch, begun at `place` in [0, 1], of one fixed field of normal draws: drawing afresh
    would cost more than decoding the picture.
    """
    field = _noise_field(_field_length(image.size), mean, std)
    begin = int(place * (len(field) - image.size))
    noise = field[begin : begin + image.size].reshape(image.shape)
    return cv2.add(image, noise, dtype=cv2.CV_8U)


def _field_length(num_values: int) -> int:
    return 1 << (4 * num_values - 1).bit_length()  # at least four times as long as a picture


@lru_cache(maxsize=4)
def _noise_field(length: int, mean: float, std: float) -> np.ndarray:
    """Noise (length,) int8 in steps of 1/255; beyond 0.498 it saturates (11 sigma of md4all's)."""
    normal = np.random.default_rng(_NOISE_SEED).standard_normal(length, np.float32)
    return np.clip(np.rint((mean + std * normal) * 255.0), -127, 127).astype(np.int8)


def _mean_luma(image: np.ndarray) -> float:
    return float(np.dot(cv2.mean(image)[:3], LUMA))


def flip_sample(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A sample's arrays as in a mirror, so that every reprojection among them still agrees.

    Pictures (h, w, 3) and maps (h, w) turn left to right; intrinsics (3, 3), which are those of
    the size of `target`, and transforms `T_...` (4, 4) follow; flags `has_...` stay.
    """
    width, flipped = arrays["target"].shape[1], {}
    for name, values in arrays.items():
        if name.endswith("intrinsics"):
            flipped[name] = flipped_intrinsics(values, width)
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
    mirror = np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    return mirror @ intrinsics @ np.diag([-1.0, 1.0, 1.0])


def flipped_transform(transform: np.ndarray) -> np.ndarray:
    """A rigid transform (4, 4) between two mirrored cameras: F T F, F = diag(-1, 1, 1, 1)."""
    sign = np.array([-1.0, 1.0, 1.0, 1.0])
    return sign[:, None] * transform * sign
