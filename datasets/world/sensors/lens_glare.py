"""Lens glare: light scattered around bright points as bloom, veil and halo."""

import cv2
import numpy as np

from nightrain.datasets.world.scene.weather import Weather

# Widths (shares of the image's width) and weights of a sum of Gaussians that falls with the inverse
# cube of the angle, like the glare of lenses and eyes (Vos 1984; Talvala et al. 2007).
_WIDTHS = (0.0028, 0.0075, 0.020, 0.055, 0.15)
_SHARES = (0.55, 0.23, 0.11, 0.065, 0.045)
_CLEAN, _WET = 0.035, 0.10  # scattered share of the light: a dusty lens, one under a wet film
_WET_FILM = 0.3  # share of the lens under the film


def scattered_share(weather: Weather) -> float:
    """Share of the light that the lens scatters."""
    return _CLEAN + (_WET - _CLEAN) * min(weather.lens_film / _WET_FILM, 1.0)


def bloom(radiance: np.ndarray, share: float) -> np.ndarray:
    """Scatter a share of an image's light (H, W, 3); keeps the sum except at the borders."""
    height, width = radiance.shape[:2]
    found = radiance * np.float32(1 - share)
    picture, step = radiance, 1
    for relative, part in zip(_WIDTHS, _SHARES, strict=True):
        sigma_px = relative * width
        while sigma_px / step > 2.5 and min(picture.shape[:2]) > 8:  # a coarser image suffices
            step *= 2
            small = (-(-picture.shape[1] // 2), -(-picture.shape[0] // 2))
            picture = cv2.resize(picture, small, interpolation=cv2.INTER_AREA)
        blurred = cv2.GaussianBlur(
            picture, (0, 0), max(sigma_px / step, 0.5), borderType=cv2.BORDER_CONSTANT
        )
        if step > 1:
            blurred = cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR)
        found += np.float32(share * part) * blurred
    return found
