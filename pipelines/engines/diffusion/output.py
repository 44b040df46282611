"""Decoding: latents to images, and checks for black, flat or saturated ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nightrain.pipelines.engines.diffusion.transfer import HostCopy

BLACK_LEVEL = 8  # 99 % of values below this: black, even at night
FLAT_LEVELS = 1.0  # standard deviation below this: flat
SATURATED_SHARE = 0.9  # share of values that are 0 or 255


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """Decoded image of one sample."""

    image: np.ndarray  # (H, W, 3) uint8
    finite_latents: bool
    finite_pixels: bool
    values: np.ndarray | None = None  # (H, W, 3) float16 in [0, 1], before rounding to 8 bits

    @property
    def problem(self) -> str:
        """Description of a defect; "" without one."""
        if not self.finite_latents:
            return "the latents are not finite"
        if not self.finite_pixels:
            return "the decoded pixels are not finite"
        return image_problem(self.image)


@dataclass(frozen=True, slots=True)
class Decoded:
    """Decoded batch that is being copied to the host."""

    images: HostCopy  # (B, H, W, 3) uint8
    finite: HostCopy  # (B, 2) bool: latents, pixels
    values: HostCopy | None = None  # (B, H, W, 3) float16 in [0, 1]

    def pictures(self) -> list[DecodedImage]:
        """Wait for the images."""
        images, finite = self.images.wait().numpy(), self.finite.wait().numpy()
        values = [None] * len(images) if self.values is None else self.values.wait().numpy()
        return [
            DecodedImage(image, bool(f[0]), bool(f[1]), v)
            for image, f, v in zip(images, finite, values, strict=True)
        ]


@torch.no_grad()
def decode(
    decoder: Callable[..., Any],
    latents: torch.Tensor,
    dtype: torch.dtype,
    scale: float,
    most: int,
    unrounded: bool = False,
) -> Decoded:
    """Decode latents (B, 4, h, w), scaled by `scale`, at most `most` rows at a time.

    The rows are split into equal parts, so that every call has the same shape. With `unrounded`,
    the values before rounding are copied to the host, too.
    """
    size = max(n for n in range(1, min(most, len(latents)) + 1) if len(latents) % n == 0)
    parts = [decoder(z.to(dtype), return_dict=False)[0] for z in (latents / scale).split(size)]
    values = torch.cat(parts).float()  # (B, 3, H, W) in [-1, 1]
    finite = torch.stack([_finite(latents), _finite(values)], dim=1)
    levels = (values.nan_to_num() / 2 + 0.5).clamp(0, 1)
    images = (levels * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    fine = levels.half().permute(0, 2, 3, 1).contiguous() if unrounded else None
    kept = None if fine is None else HostCopy.of(fine)
    return Decoded(HostCopy.of(images), HostCopy.of(finite), kept)


def image_problem(image: np.ndarray) -> str:
    """Describe the defect of an image (H, W, 3) uint8: black, flat or saturated; "" if none."""
    counts = np.bincount(image.ravel(), minlength=256)
    if counts[:BLACK_LEVEL].sum() > 0.99 * image.size:
        return f"the image is black: 99 % of its values are below {BLACK_LEVEL} of 255"
    if image.std() < FLAT_LEVELS:
        return f"the image is flat: its values differ by {image.std():.2f} levels of 255"
    share = (counts[0] + counts[255]) / image.size
    if share > SATURATED_SHARE:
        return f"the image is saturated: {100 * share:.0f} % of its values are 0 or 255"
    return ""


def unsafe_flags(pipe: Any, images: Sequence[np.ndarray]) -> list[bool]:
    """Flags of the base model's safety checker for images (H, W, 3) uint8, left unchanged."""
    checker = pipe.safety_checker
    seen = pipe.feature_extractor(list(images), return_tensors="pt").pixel_values
    to_blacken = [np.zeros(1)] * len(images)  # it blackens its input in place, so it gets dummies
    parameter = next(checker.parameters())
    return checker(clip_input=seen.to(parameter), images=to_blacken)[1]


def _finite(values: torch.Tensor) -> torch.Tensor:
    return values.flatten(1).isfinite().all(dim=1)
