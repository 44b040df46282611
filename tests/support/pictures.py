"""Pictures with many edges, for checks that compare edges."""

import numpy as np

HEIGHT, WIDTH = 256, 448


def blocks(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A picture (H, W, 3) of many overlapping rectangles."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 120, np.uint8)
    for _ in range(150):
        x, y = rng.integers(0, width), rng.integers(0, height)
        w, h = rng.integers(8, width // 6), rng.integers(8, height // 4)
        image[y : y + h, x : x + w] = rng.integers(20, 235, 3)
    return image
