"""Measure the behaviour of a family folder on held-out places of the built-in world.

    python -m nightrain.pipelines.small_diffusion.measure FAMILY --views VIEWS
    ... --places 80        render the places that VIEWS lacks first (20 held out, 60 to fit judges)
    ... --samples 8        a quick look; the default is 48 samples of night and of rain

Each figure stands next to its reference values. Parts are saved below OUT: repeat the command to
resume it, and judges fitted for one family serve the others of the same views.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.atomic import write_whole
from nightrain.datasets.io.regular import files_below
from nightrain.depthmodel.package_weights import PREFIX, SUMS, check_package, package_folder
from nightrain.pipelines.small_diffusion.data.pool import Pool
from nightrain.pipelines.small_diffusion.data.rendering import rendering
from nightrain.pipelines.small_diffusion.data.views import NUM_HELD_OUT, SEED, place_file
from nightrain.pipelines.small_diffusion.family import require_family
from nightrain.pipelines.small_diffusion.measure import judges
from nightrain.pipelines.small_diffusion.measure.agreement import condition_figures, depth_figures
from nightrain.pipelines.small_diffusion.measure.colour import style_figures
from nightrain.pipelines.small_diffusion.measure.figures import Figure, table
from nightrain.pipelines.small_diffusion.measure.frames import read_frames
from nightrain.pipelines.small_diffusion.measure.judges import load_judges
from nightrain.pipelines.small_diffusion.measure.kernel_distance import kid_figures
from nightrain.pipelines.small_diffusion.measure.monotone import monotone_figures
from nightrain.pipelines.small_diffusion.measure.networks import (
    loss_figures,
    reconstruction_figures,
)
from nightrain.pipelines.small_diffusion.measure.parts import Parts, digest_of_files, reported, say
from nightrain.pipelines.small_diffusion.measure.samples import Samples
from nightrain.pipelines.small_diffusion.sheet import write_sheet
from nightrain.pipelines.small_diffusion.start import Start

SAMPLES = 48
VERSION = 2  # increased when the figures of the same family and views change
WEIGHTS = (".safetensors", ".json", ".txt")


@dataclass(frozen=True, kw_only=True)
class MeasureOptions:
    """Options of the command."""

    family: Path
    views: Path
    out: Path
    samples: int
    places: int
    processes: int
    sheet: bool


def measure(options: MeasureOptions) -> tuple[Parts, list[Figure]]:
    """Measure a family; raises InvalidRequest for a family or views that cannot be used."""
    _check_family(options.family)
    _render(options)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    frames = read_frames(options.views)
    fitted = load_judges(options.views, options.out)
    parts = Parts(options.out, "family", _facts(options))
    samples = Samples(options.family, frames, parts, options.samples, device)
    pool, start = Pool(options.views, device, held_out=True), Start(options.family)
    measures: dict[str, Callable[[], Iterable[Figure]]] = {
        "condition": lambda: condition_figures(samples, fitted),
        "depth": lambda: depth_figures(samples, fitted),
        "autoencoder": lambda: reconstruction_figures(start, pool),
        "velocity-loss": lambda: loss_figures(start, pool),
        "kid": lambda: kid_figures(samples, fitted),
        "monotone": lambda: monotone_figures(samples, fitted),
        "style": lambda: style_figures(samples),
    }
    found = []
    for name, compute in measures.items():
        found += parts.figures(name, lambda c=compute: list(c()))
    if options.sheet and not (parts.folder / "sheet.jpg").exists():
        with reported("sheet"):
            write_sheet(options.family, options.views, parts.folder / "sheet.jpg", device)
    return parts, found


def _facts(options: MeasureOptions) -> dict[str, object]:
    weights = [path for path in files_below(options.family) if path.suffix in WEIGHTS]
    held_out = [place_file(options.views, n) for n in range(NUM_HELD_OUT)]
    return {
        "version": VERSION,
        "judges": judges.VERSION,
        "family": digest_of_files(options.family, weights),
        "held_out": digest_of_files(options.views, filter(Path.is_file, held_out)),
        "world_seed": SEED,
        "samples": options.samples,
    }


def _check_family(folder: Path) -> None:
    if (folder / SUMS).is_file():
        check_package(folder)
    require_family(folder, adapter=True)


def _render(options: MeasureOptions) -> None:
    """Render the places that are missing, if asked to."""
    lacking = [n for n in range(options.places) if not place_file(options.views, n).is_file()]
    if not lacking:
        return
    with (
        reported(f"{len(lacking)} places to render"),
        rendering(options.views, options.places, options.processes) as workers,
    ):
        for done in range(10, options.places, 10):
            workers.wait(done)
            say(f"  {done}/{options.places} places")
        workers.wait()
        failures = workers.failures()
    for place, reason in failures.items():
        say(f"  place {place} could not be rendered: {reason}")


def main() -> None:
    """Read the options, measure and print the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m nightrain.pipelines.small_diffusion.measure",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("family", help="family folder, or package:MODULE/FOLDER")
    parser.add_argument("--views", type=Path, required=True, help="folder of rendered places")
    parser.add_argument("--out", type=Path, help="folder of parts (default: VIEWS/../measured)")
    parser.add_argument(
        "--samples",
        type=_samples,
        default=SAMPLES,
        help="samples of night and of rain (default: 48)",
    )
    parser.add_argument("--places", type=int, default=0, help="places to render first (default: 0)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="renderers")
    parser.add_argument("--no-sheet", action="store_true", help="draw no contact sheet")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    given = parser.parse_args()
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    try:
        family = package_folder(given.family) if given.family.startswith(PREFIX) else None
        parts, figures = measure(
            MeasureOptions(
                family=family or Path(given.family),
                views=given.views,
                out=given.out or given.views.absolute().parent / "measured",
                samples=given.samples,
                places=given.places,
                processes=given.processes,
                sheet=not given.no_sheet,
            )
        )
    except InvalidRequest as error:
        sys.exit(f"error: {error}")
    _print(parts, figures, as_json=given.json)


def _samples(text: str) -> int:
    if not text.isdecimal() or int(text) < 8:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 8")
    return int(text)


def _print(parts: Parts, figures: list[Figure], *, as_json: bool) -> None:
    text = json.dumps([figure.to_json() for figure in figures], indent=1)
    write_whole(parts.folder / "figures.json", text)
    write_whole(parts.folder / "figures.md", table(figures))
    say(f"saved in {parts.folder}")
    print(text if as_json else table(figures), end="\n" if as_json else "")


if __name__ == "__main__":
    main()
