"""Picture of what the family does: clear frame, control, prompt, variants, and the world's truth.

    python -m nightrain.pipelines.small_diffusion.overview FAMILY --views VIEWS --out FILE.jpg

Rows are held-out places. Variants are drawn by text to image, so that all they have of the frame
is its control image and its caption.
"""

import argparse
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from nightrain.datasets.conditions import CONDITIONS, Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.atomic import write_whole
from nightrain.pipelines.small_diffusion.data.views import read_places
from nightrain.pipelines.small_diffusion.family import require_family
from nightrain.pipelines.small_diffusion.sampling import Sampler, Sampling
from nightrain.pipelines.small_diffusion.sheet import (
    BY_PROMPT,
    GUIDANCE,
    SEEDS,
    STEPS,
    Row,
    encoded,
    grey,
    grid,
)

PLACES = (0, 2, 5)
TEXT_PX, LINE_LETTERS = 14, 28
MAX_BYTES = 300_000


def write_overview(family: Path, views: Path, out: Path) -> None:
    """Draw and write the picture as a JPEG of at most 300 kB.

    Raises InvalidRequest for a folder without a family, or without enough held-out places.
    """
    require_family(family, adapter=False)
    rows = _rows(views)
    sampler = Sampler(family, torch.device("cpu"))
    columns: dict[str, Sequence[np.ndarray]] = {
        "clear frame": [row.images[Condition.CLEAR] for row in rows],
        "depth control": [grey(row.control) for row in rows],
        "prompt, after its condition": [_page(row.caption, row.control.shape) for row in rows],
    }
    for condition in BY_PROMPT:
        drawings = [row.drawing(condition, SEEDS[0]) for row in rows]
        title = f"drawn: {CONDITIONS[condition].phrases[0]}"
        columns[title] = list(sampler.draw(drawings, Sampling(steps=STEPS, guidance=GUIDANCE)))
    columns["rendered: the world's night"] = [row.images[Condition.NIGHT] for row in rows]
    write_whole(out, encoded(grid(columns), MAX_BYTES))


def _rows(views: Path) -> list[Row]:
    places = list(read_places(views, held_out=True, seen=set()))
    if len(places) <= max(PLACES):
        raise InvalidRequest(
            f"{views} holds {len(places)} held-out places; at least {max(PLACES) + 1} are needed. "
            "Render them with `python -m nightrain.pipelines.small_diffusion.measure FAMILY "
            f"--views {views} --places 80`."
        )
    return [Row.of(places[number]) for number in PLACES]


def _page(text: str, shape: tuple[int, ...]) -> np.ndarray:
    """Text on white, as an image of a shape (H, W)."""
    page = Image.new("RGB", (shape[1], shape[0]), "white")
    lines = "\n".join(textwrap.wrap(text, LINE_LETTERS))
    ImageDraw.Draw(page).text((8, 6), lines, "black", ImageFont.load_default(TEXT_PX))
    return np.asarray(page)


def main() -> None:
    """Read the options and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("family", type=Path, help="family folder")
    parser.add_argument("--views", type=Path, required=True, help="folder of rendered places")
    parser.add_argument("--out", type=Path, required=True, help="picture to write")
    given = parser.parse_args()
    try:
        write_overview(given.family, given.views, given.out)
    except InvalidRequest as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
