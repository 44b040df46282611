"""Round lights that are drawn into linear light."""

import numpy as np


def add_round_light(
    light: np.ndarray,
    depth_m: np.ndarray,
    at: tuple[float, float],
    z_m: float,
    radius_px: float,
    colour: np.ndarray,
) -> None:
    """Add a round light with a radius in pixels, unless something nearer hides it."""
    height, width = depth_m.shape
    sigma = max(radius_px, 0.5)
    reach = int(3.5 * sigma) + 2
    if not (-reach < at[0] < width + reach and -reach < at[1] < height + reach):
        return
    top, bottom = max(0, int(at[1]) - reach), min(height, int(at[1]) + reach + 1)
    left, right = max(0, int(at[0]) - reach), min(width, int(at[0]) + reach + 1)
    if top >= bottom or left >= right:
        return
    rows = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(at[1])
    columns = np.arange(left, right, dtype=np.float32)[None] - np.float32(at[0])
    squared = (rows * rows + columns * columns) / np.float32(sigma * sigma)
    # A disc with a soft rim; a light thinner than a pixel is fainter by its area.
    spot = np.exp(-0.5 * squared * np.sqrt(squared)) * np.float32(min(1.0, radius_px / 0.5) ** 2)
    spot *= depth_m[top:bottom, left:right] > z_m
    light[top:bottom, left:right] += spot[..., None] * colour
