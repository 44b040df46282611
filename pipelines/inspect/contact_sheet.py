"""Contact sheets: one row per frame and one column per condition, for visual inspection."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

LABEL_HEIGHT_PX = 22
GAP_PX = 4
NEAR_M, FAR_M = 2.0, 100.0
BACKGROUND = (24, 24, 28)


@dataclass(frozen=True, slots=True)
class Tile:
    """An image of a contact sheet, and its caption."""

    image: np.ndarray  # (H, W, 3) uint8, sRGB
    label: str


def colour_depth(depth_m: np.ndarray) -> np.ndarray:
    """Colour depth (H, W) in metres as an image (H, W, 3): near is bright, sky black; log scale."""
    with np.errstate(divide="ignore"):
        near = 1.0 - np.log(np.maximum(depth_m, NEAR_M) / NEAR_M) / np.log(FAR_M / NEAR_M)
    levels = (np.clip(near, 0.04, 1.0) * 255).astype(np.uint8)
    image = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    image[~np.isfinite(depth_m) | (depth_m <= 0)] = 0
    return image


def contact_sheet(lines: Sequence[Sequence[Tile]], tile_width_px: int = 384) -> np.ndarray:
    """Lay out tiles of equal width in rows; return an image (H, W, 3) uint8."""
    shrunk = [[_scaled(tile, tile_width_px) for tile in line] for line in lines]
    height = max(t.image.shape[0] for line in shrunk for t in line) + LABEL_HEIGHT_PX + GAP_PX
    num_columns = max(len(line) for line in shrunk)
    canvas = Image.new(
        "RGB", (num_columns * (tile_width_px + GAP_PX) + GAP_PX, len(lines) * height), BACKGROUND
    )
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    for row, line in enumerate(shrunk):
        for column, tile in enumerate(line):
            x, y = GAP_PX + column * (tile_width_px + GAP_PX), row * height
            draw.text((x + 4, y + 3), tile.label, fill=(230, 230, 230), font=font)
            canvas.paste(Image.fromarray(tile.image), (x, y + LABEL_HEIGHT_PX))
    return np.asarray(canvas)


def _scaled(tile: Tile, width_px: int) -> Tile:
    height = round(tile.image.shape[0] * width_px / tile.image.shape[1])
    image = cv2.resize(tile.image, (width_px, height), interpolation=cv2.INTER_AREA)
    return Tile(image, tile.label)
