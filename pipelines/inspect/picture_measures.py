"""Picture measures: luma, its span, colour and fine detail, which statistics and drift compare."""

import cv2
import numpy as np

WIDTH = 320  # pixels to which pictures are reduced, so that sizes do not matter


def picture_measures(image: np.ndarray) -> dict[str, float]:
    """Measures of a picture (H, W, 3) uint8: luma, its span, colour, fine detail."""
    height = max(1, round(image.shape[0] * WIDTH / image.shape[1]))
    small = cv2.resize(image, (WIDTH, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    luma = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    low, high = np.percentile(luma, (5, 95))
    red, green, blue = small.reshape(-1, 3).mean(0)
    return {
        "luma": float(luma.mean()),
        "span of luma": float(high - low),
        "dark share": float((luma < 10).mean()),
        "red over blue": float((red + 1) / (blue + 1)),
        "green over red and blue": float((2 * green + 1) / (red + blue + 1)),
        "detail": float(cv2.Laplacian(luma, cv2.CV_32F).std()),
    }
