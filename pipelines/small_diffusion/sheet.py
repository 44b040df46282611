"""Contact sheet of held-out places, drawn by diffusers' own pipelines from the written folder."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from nightrain.datasets.conditions import CONDITIONS, Condition
from nightrain.datasets.io.atomic import write_whole
from nightrain.pipelines.small_diffusion.data import views as data
from nightrain.pipelines.small_diffusion.data.captions import without_phrase
from nightrain.pipelines.small_diffusion.data.views import Views, read_places
from nightrain.pipelines.small_diffusion.sampling import Drawing, Sampler, Sampling

BY_PROMPT = (Condition.NIGHT, Condition.RAIN, Condition.SNOW)
SEEDS = (0, 1)
STEPS, GUIDANCE, STRENGTH = 12, 3.0, 0.78  # of the recipe diffusion-world
TITLE_PX = 18
MAX_BYTES = 1_000_000
QUALITIES = (90, 85, 80, 70, 60, 45, 30)
Columns = Mapping[str, Sequence[np.ndarray]]  # title -> images (H, W, 3) uint8, one per row


@dataclass(frozen=True, slots=True)
class Row:
    """Shot of a held-out place."""

    images: Mapping[Condition, np.ndarray]  # (H, W, 3) uint8
    control: np.ndarray  # (H, W) uint8
    caption: str

    @classmethod
    def of(cls, views: Views) -> "Row":
        """First shot of a place."""
        firsts = {c: int(np.argmax(views.condition == n)) for n, c in enumerate(data.CONDITIONS)}
        images = {condition: views.image[first] for condition, first in firsts.items()}
        return cls(images, views.control[0], without_phrase([str(t) for t in views.prompts[0]]))

    def drawing(self, condition: Condition | None, seed: int) -> Drawing:
        """Drawing by prompt; without a condition, the prompt is the caption alone."""
        words = [] if condition is None else [CONDITIONS[condition].phrases[0]]
        return Drawing(
            prompt=", ".join([*words, self.caption]),
            control=self.control,
            seed=seed,
            clear=self.images[Condition.CLEAR],
        )


def write_sheet(folder: Path, views: Path, out: Path, device: torch.device, rows: int = 12) -> None:
    """Draw and write a sheet of `rows` held-out places as a JPEG of at most 1 MB.

    Columns: clear; control; night, rain and snow by prompt, two seeds each; night and rain by
    image2image; a style picture and the image with it (if the family has an adapter); the next
    place's control, and night with it; the world's own night and rain.
    """
    found = [Row.of(v) for v in read_places(views, held_out=True, seen=set())][:rows]
    if found:
        write_whole(out, encoded(grid(_columns(folder, found, device))))


def _columns(folder: Path, rows: Sequence[Row], device: torch.device) -> Columns:
    sampler = Sampler(folder, device)
    usual = Sampling(steps=STEPS, guidance=GUIDANCE)
    by_image = replace(usual, strength=STRENGTH)
    found: dict[str, Sequence[np.ndarray]] = {
        "clear": [row.images[Condition.CLEAR] for row in rows],
        "control": [grey(row.control) for row in rows],
    }
    for condition in BY_PROMPT:
        for seed in SEEDS:
            drawings = [row.drawing(condition, seed) for row in rows]
            found[f"{condition}, seed {seed}"] = list(sampler.draw(drawings, usual))
    for condition in BY_PROMPT[:2]:
        drawings = [row.drawing(condition, SEEDS[0]) for row in rows]
        found[f"{condition}, image2image"] = list(sampler.draw(drawings, by_image))
    if (folder / "ip-adapter").is_dir():
        found |= _styled(Sampler(folder, device, adapter=True), rows, usual)
    others = [*rows[1:], rows[0]]
    shuffled = [
        replace(row, control=other.control) for row, other in zip(rows, others, strict=True)
    ]
    night = [row.drawing(Condition.NIGHT, SEEDS[0]) for row in shuffled]
    found["another control"] = [grey(row.control) for row in shuffled]
    found["night with it"] = list(sampler.draw(night, usual))
    for condition in BY_PROMPT[:2]:
        found[f"world's {condition}"] = [row.images[condition] for row in rows]
    return found


def _styled(sampler: Sampler, rows: Sequence[Row], usual: Sampling) -> Columns:
    """Style pictures of other places, conditions in turn, and the images with them."""
    conditions = data.CONDITIONS[1:]
    others = [*rows[1:], rows[0]]
    styles = [o.images[conditions[n % len(conditions)]] for n, o in enumerate(others)]
    drawings = [
        replace(row.drawing(None, SEEDS[0]), style=style)
        for row, style in zip(rows, styles, strict=True)
    ]
    return {"style picture": styles, "image in its style": list(sampler.draw(drawings, usual))}


def grid(columns: Columns) -> Image.Image:
    """Picture of columns with their titles above."""
    pictures = [np.concatenate(list(images)) for images in columns.values()]
    width, height = pictures[0].shape[1], pictures[0].shape[0]
    found = Image.new("RGB", (width * len(pictures), height + TITLE_PX), "white")
    pen, font = ImageDraw.Draw(found), ImageFont.load_default(TITLE_PX - 5)
    for number, (title, picture) in enumerate(zip(columns, pictures, strict=True)):
        found.paste(Image.fromarray(picture), (number * width, TITLE_PX))
        pen.text((number * width + 3, 1), title, fill="black", font=font)
    return found


def encoded(image: Image.Image, max_bytes: int = MAX_BYTES) -> bytes:
    """JPEG of the highest quality that fits into so many bytes, or of the lowest quality."""
    found = b""
    for quality in QUALITIES:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, optimize=True)
        found = buffer.getvalue()
        if len(found) <= max_bytes:
            break
    return found


def grey(control: np.ndarray) -> np.ndarray:
    """Control image (H, W) as a picture (H, W, 3)."""
    return np.repeat(control[..., None], 3, 2)
