"""Wet glass close to the lens: drops out of focus and a film of water (docs/papers/weather.md).

A camera behind its own cover glass, as on a roof, sees the drops on it out of focus: a drop of
diameter D at a distance d is a soft disc as wide as the angle (D + A) / d, where A is the aperture.
"""

import cv2
import numpy as np

from nightrain.pipelines.engines.weather.optics.filters import enlarged, reduced

FACTOR = 4
FOCAL_LENGTH_WIDTHS = 0.8  # of the image's width: a horizontal view of 64 degrees
DISTANCE_MM = (12.0, 40.0)
APERTURE_MM = 3.0
MAX_DROPS = 18
DROP_MM = (2.5, 0.45)  # median and standard deviation of the logarithm
MIN_DROP_MM, MAX_DROP_MM = 1.0, 6.0
FILM_SHARE = 0.35  # of the light that a film scatters in the heaviest rain
FILM_SIGMA_WIDTHS = 0.02
VIEW_SIGMA_WIDTHS = 0.1


def add_wet_glass(
    light: np.ndarray, severity: float, visible: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Composite a film and blurred drops over linear light (H, W, 3); none at severity 0.

    What they hide is taken from `visible` (H, W), in place.
    """
    film = FILM_SHARE * severity * float(rng.uniform(0.2, 1.0))
    small = reduced(light, FACTOR)
    width = small.shape[1]
    smeared = cv2.GaussianBlur(small, (0, 0), max(FILM_SIGMA_WIDTHS * width, 0.5))
    light = cv2.addWeighted(light, 1 - film, enlarged(smeared, light.shape), film, 0.0)
    visible *= np.float32(1 - film)
    share = _drop_share(small.shape[:2], severity, rng)
    if not share.any():
        return light
    # A drop shows a wide field of view upside down; the blur leaves its mean and a slope.
    view = cv2.GaussianBlur(small[::-1, ::-1], (0, 0), VIEW_SIGMA_WIDTHS * width)
    view = 0.5 * view + 0.5 * small.mean((0, 1))
    share = enlarged(share, light.shape)
    visible *= 1 - share
    return cv2.blendLinear(enlarged(view, light.shape), light, share, 1 - share)


def _drop_share(shape: tuple[int, ...], severity: float, rng: np.random.Generator) -> np.ndarray:
    """Share of each pixel's light that comes through drops (h, w)."""
    height, width = shape
    px_per_mm = FOCAL_LENGTH_WIDTHS * width / rng.uniform(*DISTANCE_MM)
    count = int(rng.poisson(MAX_DROPS * severity))
    diameters_mm = rng.lognormal(np.log(DROP_MM[0]), DROP_MM[1], count)
    centres = rng.uniform(-0.1, 1.1, (count, 2)) * (width, height)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    passed = np.ones(shape, np.float32)
    for (x, y), diameter_mm in zip(
        centres, diameters_mm.clip(MIN_DROP_MM, MAX_DROP_MM), strict=True
    ):
        distance_mm = np.hypot(columns - np.float32(x), rows - np.float32(y))
        distance_mm /= np.float32(px_per_mm)
        passed *= 1 - np.float32(0.95) * covered_aperture(distance_mm, diameter_mm)
    return 1 - passed


def covered_aperture(distance_mm: np.ndarray, diameter_mm: float) -> np.ndarray:
    """Share of the aperture that a drop covers, seen at a distance from its axis on the glass.

    The overlap of two discs over the area of one.
    """
    d = np.maximum(distance_mm, np.float32(1e-3))
    a, b = APERTURE_MM / 2, diameter_mm / 2
    sectors = a * a * np.arccos(((d * d + a * a - b * b) / (2 * a * d)).clip(-1, 1))
    sectors += b * b * np.arccos(((d * d + b * b - a * a) / (2 * b * d)).clip(-1, 1))
    kite = ((a + b - d) * (d + a - b) * (d - a + b) * (a + b + d)).clip(0)
    return (sectors - np.sqrt(kite) / 2) / np.float32(np.pi * a * a)
