"""Defects that an audit seeds into good variants."""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from nightrain.pipelines.engines.base import Request, Variant

INPAINT_WIDTH, GROWN_PX, PASTED_ASIDE = 384, 9, 0.3
BLUR_SHARE = 0.015  # sigma of a blur, of the width
PAINTED_SHARE, RIM_SHARE = (
    0.1,
    0.006,
)  # half of a painted part's width, and of its rim; of the width
FAINT_NOISE = 2.0  # levels


class Good(NamedTuple):
    """A variant as its engine made it, and what defects need to know of it."""

    scene_id: str
    request: Request
    variant: Variant
    vehicle: np.ndarray | None = None  # mask (H, W) bool of a vehicle
    painting: np.ndarray | None = None  # (h, w, 3), by a diffusion model with its control off

    @property
    def image(self) -> np.ndarray:
        """The variant's picture (H, W, 3)."""
        return self.variant.image


class Others(NamedTuple):
    """Other variants that a defect is taken from; None where there is none."""

    frame: Good | None  # of the same condition, of another scene
    weather: Good | None  # of the same frame, of another condition


class Defect(NamedTuple):
    """A defect, and what it does to the geometry."""

    is_geometry: bool  # a gross defect of geometry; otherwise a fault of the picture
    seed: Callable[[Good, Others], np.ndarray | None]  # None where it cannot be seeded


def shifted(image: np.ndarray, share: float) -> np.ndarray:
    """Move an image (H, W, 3) to the right by a share of its width; its edge is repeated."""
    pixels = round(share * image.shape[1])
    return np.concatenate([image[:, :1].repeat(pixels, axis=1), image[:, :-pixels]], axis=1)


def scaled(image: np.ndarray, factor: float) -> np.ndarray:
    """Enlarge the middle of an image (H, W, 3) to its size."""
    height, width = image.shape[:2]
    high, wide = round(height / factor), round(width / factor)
    top, left = (height - high) // 2, (width - wide) // 2
    return cv2.resize(image[top : top + high, left : left + wide], (width, height))


def erased(good: Good) -> np.ndarray | None:
    """Fill in a variant's vehicle from around it; None without a vehicle."""
    if good.vehicle is None:
        return None
    height, width = good.image.shape[:2]
    size = INPAINT_WIDTH, round(height * INPAINT_WIDTH / width)
    kernel = np.ones((GROWN_PX, GROWN_PX), np.uint8)
    hole = cv2.dilate(good.vehicle.astype(np.uint8), kernel)
    small = cv2.resize(hole, size, interpolation=cv2.INTER_NEAREST)
    filled = cv2.inpaint(cv2.resize(good.image, size), small, 5, cv2.INPAINT_TELEA)
    filled = cv2.resize(filled, (width, height)).astype(np.float32)
    filled += np.random.default_rng(0).normal(0, FAINT_NOISE, filled.shape)  # as around it
    return np.where(hole[..., None] > 0, filled.clip(0, 255), good.image).astype(np.uint8)


def pasted(good: Good, other: Good | None) -> np.ndarray | None:
    """Paste another frame's vehicle, moved aside, into a variant; None without a vehicle."""
    if other is None or other.vehicle is None:
        return None
    half = other.vehicle.shape[1] // 2
    is_left = other.vehicle[:, :half].sum() > other.vehicle[:, half:].sum()
    aside = round((PASTED_ASIDE if is_left else -PASTED_ASIDE) * other.vehicle.shape[1])
    mask, source = (np.roll(field, aside, axis=1) for field in (other.vehicle, other.image))
    return np.where(mask[..., None], source, good.image)


def painted(good: Good) -> np.ndarray | None:
    """Put a part of the painting into a variant, with a soft rim; None without a painting.

    The part is an ellipse as large as a near vehicle, on the road beside the middle.
    """
    if good.painting is None:
        return None
    height, width = good.image.shape[:2]
    is_left = good.request.seed % 2 == 0
    centre = round(width * (0.3 if is_left else 0.7)), round(0.65 * height)
    axes = round(PAINTED_SHARE * width), round(0.7 * PAINTED_SHARE * width)
    mask = np.zeros((height, width), np.float32)
    cv2.ellipse(mask, centre, axes, 0, 0, 360, (1.0,), -1)
    soft = cv2.GaussianBlur(mask, (0, 0), RIM_SHARE * width)[..., None]
    painting = cv2.resize(good.painting, (width, height))
    return (soft * painting + (1 - soft) * good.image).round().astype(np.uint8)


def blurred(image: np.ndarray) -> np.ndarray:
    """Blur an image (H, W, 3) until a car's outline is lost."""
    return cv2.GaussianBlur(image, (0, 0), BLUR_SHARE * image.shape[1])


def not_a_number(image: np.ndarray) -> np.ndarray:
    """Give an image (H, W, 3) as numbers, some of which are not numbers."""
    broken = image.astype(np.float32)
    broken[: len(broken) // 2] = np.nan
    return broken


def posterised(image: np.ndarray) -> np.ndarray:
    """Reduce an image (H, W, 3) to 16 levels."""
    return image // 16 * 16


def half_white(image: np.ndarray) -> np.ndarray:
    """Saturate the brighter half of an image (H, W, 3)."""
    return np.where(image > np.median(image), 255, image).astype(np.uint8)


def flat(image: np.ndarray) -> np.ndarray:
    """Replace an image (H, W, 3) by its mean."""
    return np.full_like(image, round(float(image.mean())))


DEFECTS: dict[str, Defect] = {
    "other frame": Defect(True, lambda good, others: _picture(others.frame, good)),
    "shifted by 8 %": Defect(True, lambda good, _: shifted(good.image, 0.08)),
    "shifted by 3 %": Defect(True, lambda good, _: shifted(good.image, 0.03)),
    "mirrored": Defect(True, lambda good, _: np.ascontiguousarray(good.image[:, ::-1])),
    "scaled by 1.2": Defect(True, lambda good, _: scaled(good.image, 1.2)),
    "vehicle erased": Defect(True, lambda good, _: erased(good)),
    "vehicle pasted": Defect(True, lambda good, others: pasted(good, others.frame)),
    "painted without control": Defect(True, lambda good, _: painted(good)),
    "black": Defect(False, lambda good, _: good.image // 16),
    "flat": Defect(False, lambda good, _: flat(good.image)),
    "half white": Defect(False, lambda good, _: half_white(good.image)),
    "posterised to 16 levels": Defect(False, lambda good, _: posterised(good.image)),
    "blurred": Defect(False, lambda good, _: blurred(good.image)),
    "not a number": Defect(False, lambda good, _: not_a_number(good.image)),
    "clear frame": Defect(False, lambda good, _: good.request.image),
    "other condition": Defect(False, lambda good, others: _picture(others.weather, good)),
}


def _picture(other: Good | None, good: Good) -> np.ndarray | None:
    return None if other is None else cv2.resize(other.image, good.image.shape[1::-1])
