"""Augmentation: colour jitter, noise and blur of the network's input, flips of whole samples.

Settings from md4all's published configuration (md4all, eq. 12, docs/papers/md4all.md). There, the
depth network's input is flipped and its output flipped back; here, the whole sample is flipped,
including its geometry.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import cv2
import numpy as np
from pydantic import Field

from nightrain.datasets.validation import Settings

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Strength = Annotated[float, Field(ge=0.0, le=0.9)]

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
AT_INPUT = ("shown_intrinsics", "stereo_intrinsics")  # the others are at the size of the losses
_NOISE_SEED = 0x0153


class Augmentation(Settings):
    """Ranges of the augmentations: factors 1 +- brightness, contrast, saturation; hue in turns.

    `gamma` and `channels` are ranges of the same kind: of an exponent, and of a gain for each
    colour channel. All of these are applied to a share `colour_probability` of the samples. A
    rotation about the image's centre takes depth along; it does not fit neighbours' poses.
    """

    brightness: Strength = 0.2
    contrast: Strength = 0.2
    saturation: Strength = 0.2
    hue: Annotated[float, Field(ge=0.0, le=0.5)] = 0.05
    gamma: Strength = 0.0
    channels: Strength = 0.0
    colour_probability: Probability = 1.0
    noise_probability: Probability = 0.5
    noise_mean: float = 0.005  # in units of pixel values in [0, 1]
    noise_std: Annotated[float, Field(ge=0.0, le=0.1)] = 0.045
    blur_probability: Probability = 0.0
    blur_sigma_px: tuple[float, float] = (0.3, 1.5)
    flip_probability: Probability = 0.5
    rotation_deg: Annotated[float, Field(ge=0.0, le=45.0)] = 0.0

    def draw(self, values: np.ndarray) -> "DrawnAugmentation":
        """Draw an augmentation from uniform numbers (15 or more,) in [0, 1), one per choice."""
        signed = 2.0 * values - 1.0
        rotation_deg = self.rotation_deg * signed[14]
        if values[13] >= self.colour_probability:
            signed = np.zeros_like(signed)
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
            gamma=1.0 + self.gamma * signed[9],
            gains=(1.0 + self.channels * signed[10:13]) if self.channels else None,
            rotation_deg=rotation_deg,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnAugmentation:
    """Augmentation of one sample; the defaults change nothing."""

    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue_turns: float = 0.0
    noise_mean: float = 0.0
    noise_std: float = 0.0
    noise_place: float = 0.0  # in [0, 1]: its start in the noise field
    blur_sigma_px: float = 0.0
    flip: bool = False
    gamma: float = 1.0
    gains: np.ndarray | None = None  # (3,) of R, G and B
    rotation_deg: float = 0.0

    def of_sample(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Augment the input of a sample's arrays, and flip all of them if a flip was drawn."""
        if self.rotation_deg:
            arrays = rotate_sample(arrays, self.rotation_deg)
        arrays = {**arrays, "image": self.of_picture(arrays["image"])}
        return flip_sample(arrays) if self.flip else arrays

    def of_picture(self, image: np.ndarray) -> np.ndarray:
        """Apply gamma, jitter, noise and blur, in this order, to (H, W, 3) uint8 sRGB."""
        if self.gamma != 1.0:
            levels = np.rint(255.0 * (np.arange(256) / 255.0) ** self.gamma)
            image = cv2.LUT(image, levels.astype(np.uint8))
        colour = jitter_matrix(
            self.brightness, self.contrast, self.saturation, self.hue_turns, _mean_luma(image)
        )
        if self.gains is not None:
            colour = self.gains[:, None] * colour
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

    Brightness scales; contrast scales about the image's mean luma; saturation scales about each
    pixel's luma; hue rotates colours about the grey axis (Rodrigues), so grey stays grey.
    """
    angle = 2.0 * math.pi * hue_turns
    gain, coloured = contrast * brightness, contrast * brightness * saturation
    # Rodrigues about (1, 1, 1) / sqrt(3): each row is the previous one, rotated by one place.
    along = coloured * (1.0 - math.cos(angle)) / 3.0
    across = coloured * math.sin(angle) / math.sqrt(3.0)
    same, after, before = along + coloured * math.cos(angle), along - across, along + across
    r, g, b = (gain * (1.0 - saturation) * weight for weight in LUMA)  # grey: invariant under hue
    shift = (1.0 - contrast) * brightness * mean_luma  # grey, too
    rows = [
        [same + r, after + g, before + b, shift],
        [before + r, same + g, after + b, shift],
        [after + r, before + g, same + b, shift],
    ]
    return np.array(rows)


def add_noise(image: np.ndarray, mean: float, std: float, place: float) -> np.ndarray:
    """Add noise to (H, W, 3) uint8: x + mean + std n, n ~ N(0, 1), x in [0, 1], clamped.

    n is a section, starting at `place` in [0, 1], of one fixed field of normal draws: new draws
    would cost more than decoding the image.
    """
    lighter, darker = _noise_fields(_field_length(image.size), mean, std)
    begin = int(place * (len(lighter) - image.size))
    stretch = slice(begin, begin + image.size)
    image = cv2.add(image, lighter[stretch].reshape(image.shape))
    return cv2.subtract(image, darker[stretch].reshape(image.shape))


def _field_length(num_values: int) -> int:
    return 1 << (4 * num_values - 1).bit_length()  # at least four times as long as an image


@lru_cache(maxsize=4)
def _noise_fields(length: int, mean: float, std: float) -> tuple[np.ndarray, np.ndarray]:
    """Noise in steps of 1/255, split into positive and negative parts: two arrays (length,) uint8.

    OpenCV vectorises saturated sums of bytes, but not those of bytes and signed numbers.
    """
    normal = np.random.default_rng(_NOISE_SEED).standard_normal(length, np.float32)
    noise = np.clip(np.rint((mean + std * normal) * 255.0), -127, 127)
    return np.maximum(noise, 0).astype(np.uint8), np.maximum(-noise, 0).astype(np.uint8)


def _mean_luma(image: np.ndarray) -> float:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)  # the same weights
    return cv2.norm(grey, cv2.NORM_L1) / grey.size


def flip_sample(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Mirror a sample's arrays so that every reprojection among them still holds.

    Images (h, w, 3) and maps (h, w) are mirrored left to right. Intrinsics (3, 3) and transforms
    `T_...` (4, 4) change accordingly; intrinsics refer to the size of `target`, those in `AT_INPUT`
    to the size of `image`. Flags `has_...` do not change.
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


def rotate_sample(arrays: dict[str, np.ndarray], angle_deg: float) -> dict[str, np.ndarray]:
    """Rotate a sample's images (h, w, 3) and maps (h, w) about their centres.

    Images are interpolated and are black outside; depth keeps its values and is 0 outside.
    Intrinsics (3, 3) stay, for losses that do not use them.
    """
    rotated = {}
    for name, values in arrays.items():
        if name.endswith("intrinsics") or name.startswith(("T_", "has_")):
            rotated[name] = values
            continue
        height, width = values.shape[:2]
        turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle_deg, 1.0)
        how = cv2.INTER_LINEAR if values.ndim == 3 else cv2.INTER_NEAREST
        rotated[name] = cv2.warpAffine(values, turn, (width, height), flags=how)
    return rotated


def flipped_intrinsics(intrinsics: np.ndarray, width: int) -> np.ndarray:
    """Intrinsics (3, 3) of the mirrored image: cx' = width - 1 - cx, and the skew changes sign.

    The mirrored scene is F X with F = diag(-1, 1, 1), and pixels are u' = width - 1 - u = A u:
    K' = A K F.
    """
    mirrored = np.array(intrinsics, np.float64)
    mirrored[0] = (width - 1.0) * mirrored[2] - mirrored[0]
    mirrored[:, 0] *= -1.0
    return mirrored


def flipped_transform(transform: np.ndarray) -> np.ndarray:
    """Rigid transform (4, 4) between two mirrored cameras: F T F, F = diag(-1, 1, 1, 1)."""
    sign = np.array([-1.0, 1.0, 1.0, 1.0])
    return sign[:, None] * transform * sign
