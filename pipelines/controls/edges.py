"""Edge control images, without weights: white lines on black."""

import cv2
import numpy as np

from nightrain.datasets.io.images import resize_image

CANNY_THRESHOLDS = (100, 200)  # as in the training of ControlNet's canny model
SOFT_SCALES_PX = (1.0, 2.0, 4.0)
SOFT_WHITE_PERCENTILE = 99.0


def canny_edges(
    image: np.ndarray,
    size: tuple[int, int],
    thresholds: tuple[int, int] = CANNY_THRESHOLDS,
) -> np.ndarray:
    """Canny edges of an image (H, W, 3) uint8: (height, width, 3) uint8, 0 or 255.

    Canny 1986, by OpenCV. The image is resized first, so that lines are one pixel wide.
    """
    edges = cv2.Canny(resize_image(image, size), *thresholds)
    return np.repeat(edges[:, :, None], 3, axis=2)


def soft_edges(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Soft edges of an image (H, W, 3) uint8 without a network: (height, width, 3) uint8.

    The gradient of lightness and colour (CIE Lab), averaged over three scales. A substitute for HED
    and PiDi (`detectors.detector_edges`), which separate objects from texture.
    """
    lab = cv2.cvtColor(resize_image(image, size).astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    strength = np.zeros(lab.shape[:2], np.float32)
    for sigma in SOFT_SCALES_PX:
        smooth = cv2.GaussianBlur(lab, (0, 0), sigma)
        across = cv2.Scharr(smooth, cv2.CV_32F, 1, 0)
        down = cv2.Scharr(smooth, cv2.CV_32F, 0, 1)
        # Blurring divides a step's gradient by sigma; this gives all scales the same weight.
        strength += sigma * np.sqrt((across**2 + down**2).sum(axis=2))
    white = max(float(np.percentile(strength, SOFT_WHITE_PERCENTILE)), 1e-3)
    edges = np.rint(255 * np.clip(strength / white, 0, 1)).astype(np.uint8)
    return np.repeat(edges[:, :, None], 3, axis=2)
