"""Contact sheets: one row per frame and one column per condition, for visual inspection."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

LABEL_HEIGHT_PX = 22
GAP_PX = 4
NEAR_M, FAR_M = 2.0, 100.0
BACKGROUND, TEXT_BACKGROUND, TEXT = (24, 24, 28), (64, 28, 28), (230, 230, 230)
TILE_WIDTH_PX = 384
FONT_SIZE_PX = 14
LINE_HEIGHT_PX = FONT_SIZE_PX + 5


@dataclass(frozen=True, slots=True)
class Tile:
    """An image of a contact sheet, and its caption."""

    image: np.ndarray  # (H, W, 3) uint8, sRGB
    label: str
    text: str = ""  # written below the image, in full


def text_tile(label: str, text: str, shape: Sequence[int], width_px: int = TILE_WIDTH_PX) -> Tile:
    """Make a tile that shows a text instead of an image (H, W) of the given shape."""
    height_px = max(1, round(shape[0] * width_px / shape[1]))
    lines = _wrapped(text, width_px)[: max(1, (height_px - 12) // LINE_HEIGHT_PX)]
    return Tile(_written(lines, (width_px, height_px), TEXT_BACKGROUND), label)


def _wrapped(text: str, width_px: int) -> list[str]:
    """Lines of a text that fit into a width."""
    num_columns = int((width_px - 16) / ImageFont.load_default(FONT_SIZE_PX).getlength("n"))
    return textwrap.wrap(text, max(1, num_columns))


def _written(
    lines: Sequence[str], size: tuple[int, int], background: tuple[int, int, int]
) -> np.ndarray:
    """Image (H, W, 3) uint8 of the given (width, height) with lines of text."""
    image, font = Image.new("RGB", size, background), ImageFont.load_default(FONT_SIZE_PX)
    ImageDraw.Draw(image).multiline_text((8, 6), "\n".join(lines), fill=TEXT, font=font)
    return np.asarray(image)


def colour_depth(depth_m: np.ndarray) -> np.ndarray:
    """Colour depth (H, W) in metres as an image (H, W, 3): near is bright, sky black; log scale."""
    with np.errstate(divide="ignore"):
        near = 1.0 - np.log(np.maximum(depth_m, NEAR_M) / NEAR_M) / np.log(FAR_M / NEAR_M)
    levels = (np.clip(near, 0.04, 1.0) * 255).astype(np.uint8)
    image = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    image[~np.isfinite(depth_m) | (depth_m <= 0)] = 0
    return image


def contact_sheet(
    lines: Sequence[Sequence[Tile]], tile_width_px: int = TILE_WIDTH_PX
) -> np.ndarray:
    """Lay out tiles of equal width in rows; return an image (H, W, 3) uint8."""
    shrunk = [[_scaled(tile, tile_width_px) for tile in line] for line in lines]
    height = max(t.image.shape[0] for line in shrunk for t in line) + LABEL_HEIGHT_PX + GAP_PX
    num_columns = max(len(line) for line in shrunk)
    canvas = Image.new(
        "RGB", (num_columns * (tile_width_px + GAP_PX) + GAP_PX, len(lines) * height), BACKGROUND
    )
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(FONT_SIZE_PX)
    for row, line in enumerate(shrunk):
        for column, tile in enumerate(line):
            x, y = GAP_PX + column * (tile_width_px + GAP_PX), row * height
            label = _fitting(tile.label, font, tile_width_px - 8)
            draw.text((x + 4, y + 3), label, fill=TEXT, font=font)
            canvas.paste(Image.fromarray(tile.image), (x, y + LABEL_HEIGHT_PX))
    return np.asarray(canvas)


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width_px: int) -> str:
    """The beginning of a text that fits into a width, so that it never covers the next label."""
    if font.getlength(text) <= width_px:
        return text
    while text and font.getlength(f"{text}...") > width_px:
        text = text[:-1]
    return f"{text}..."


def _scaled(tile: Tile, width_px: int) -> Tile:
    height = round(tile.image.shape[0] * width_px / tile.image.shape[1])
    image = cv2.resize(tile.image, (width_px, height), interpolation=cv2.INTER_AREA)
    if tile.text:
        lines = _wrapped(tile.text, width_px)
        below = _written(lines, (width_px, 12 + LINE_HEIGHT_PX * len(lines)), BACKGROUND)
        image = np.concatenate([image, below])
    return Tile(image, tile.label)
