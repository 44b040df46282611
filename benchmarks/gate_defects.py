"""Gates: shares of good variants and of variants with a seeded defect that they reject.

Results: docs/howto/gates.md.

    python -m nightrain.benchmarks.gate_defects DATASET --recipe weather --frames 40

Variants of evenly spaced clear frames are generated, a defect is put into each, and the gates
`faults` and `alignment` judge them. The command prints, as Markdown, the share of rejected variants
per condition and defect; of those without defect it should be 0.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import DamagedInput
from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.shards.rows import GENERATION_COLUMNS, frame_from_row
from nightrain.datasets.splits import NO_SPLIT
from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.engines.registry import load_engine
from nightrain.pipelines.engines.retry import run_engine
from nightrain.pipelines.gates.base import Gate, GateRejected
from nightrain.pipelines.gates.built_in import AlignmentSettings, FaultsSettings
from nightrain.pipelines.generate.prepare import prepare_frame
from nightrain.pipelines.generate.requests import plan_requests, request_for
from nightrain.pipelines.inspect.stats import sample
from nightrain.pipelines.recipes.recipe_file import load_recipe
from nightrain.pipelines.runs.selection import select_frames

Made = tuple[Request, np.ndarray]  # a request and its variant
Defect = Callable[[np.ndarray, Made], np.ndarray]  # of a variant, given another frame's


def shifted(image: np.ndarray, share: float) -> np.ndarray:
    """The image (H, W, 3), moved to the right by a share of its width, with its edge repeated."""
    pixels = round(share * image.shape[1])
    return np.concatenate([image[:, :1].repeat(pixels, axis=1), image[:, :-pixels]], axis=1)


def scaled(image: np.ndarray, factor: float) -> np.ndarray:
    """The middle of an image (H, W, 3), enlarged to its size."""
    height, width = image.shape[:2]
    high, wide = round(height / factor), round(width / factor)
    top, left = (height - high) // 2, (width - wide) // 2
    return cv2.resize(image[top : top + high, left : left + wide], (width, height))


DEFECTS: dict[str, Defect] = {
    "none": lambda image, _: image,
    "other frame": lambda image, other: cv2.resize(other[1], image.shape[1::-1]),
    "shifted by 8 %": lambda image, _: shifted(image, 0.08),
    "shifted by 3 %": lambda image, _: shifted(image, 0.03),
    "mirrored": lambda image, _: np.ascontiguousarray(image[:, ::-1]),
    "scaled by 1.2": lambda image, _: scaled(image, 1.2),
    "black": lambda image, _: image // 16,
    "flat": lambda image, _: np.full_like(image, round(float(image.mean()))),
    "white": lambda image, _: np.where(image > np.median(image), 255, image).astype(np.uint8),
    "posterised to 16 levels": lambda image, _: image // 16 * 16,
}


def variants(dataset: Path, recipe_name: str, split: str, num_frames: int) -> Iterator[Made]:
    """Yield the variants of a recipe of evenly spaced clear frames of a split."""
    recipe, manifest = load_recipe(recipe_name, dataset), Manifest(dataset)
    selected = select_frames(
        manifest, (Condition.CLEAR,), product="variants", include_evaluation_scenes=True
    )
    entries = [entry for entry in selected.kept if entry.about.get("split", NO_SPLIT) == split]
    engine = load_engine(recipe.engine)
    for row in sample(manifest, entries, num_frames, GENERATION_COLUMNS):
        try:
            prepared = prepare_frame(frame_from_row(row), recipe)
        except DamagedInput:
            continue
        for condition in recipe.conditions:
            planned = next(plan_requests([row], recipe, condition, None))
            request = request_for(planned, prepared, condition, recipe)
            (outcome,) = run_engine(engine, [request], 1)
            if not isinstance(outcome, Exception):
                yield request, outcome.image


def rejected(gates: dict[str, Gate], made: list[Made]) -> dict[str, dict[str, float]]:
    """Share of rejected variants, by defect and condition."""
    verdicts: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for index, (request, image) in enumerate(made):
        others = [
            m
            for m in made
            if m[0].condition == request.condition and not np.array_equal(m[0].image, request.image)
        ]
        other = others[index % len(others)]
        for name, defect in DEFECTS.items():
            seeded = defect(image, other)
            is_rejected = any(
                isinstance(gate(request, Variant(image=seeded)), GateRejected)
                for gate in gates.values()
            )
            verdicts[name, str(request.condition)].append(is_rejected)
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for (name, condition), of_images in verdicts.items():
        found[name][condition] = float(np.mean(of_images))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--recipe", default="weather")
    parser.add_argument("--split", default="val", help="split of the frames, or none")
    parser.add_argument("--frames", type=int, default=40, help="maximum clear frames")
    options = parser.parse_args()
    gates = {one.name: one.build() for one in (FaultsSettings(), AlignmentSettings())}
    made = list(variants(options.dataset, options.recipe, options.split, options.frames))
    found = rejected(gates, made)
    conditions = list(next(iter(found.values())))
    print(f"{len(made)} variants. Share rejected:\n")
    print(f"| defect | {' | '.join(conditions)} |")
    print("| --- |" + " ---: |" * len(conditions))
    for name, shares in found.items():
        print(f"| {name} | {' | '.join(f'{shares[c]:.1%}' for c in conditions)} |")


if __name__ == "__main__":
    main()
