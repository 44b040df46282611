"""Gates: shares of good variants and of variants with a seeded defect that they reject.

Results: docs/howto/gates.md.

    python -m nightrain.benchmarks.gate_defects DATASET --recipe weather --frames 40 --world WORLD

Variants of evenly spaced clear frames are generated, a defect is put into each, and the built-in
gates judge them. The command prints, as Markdown, the share of rejected variants per condition and
defect; of those without defect it should be 0. With WORLD, the rendered folder that the dataset was
read from, a vehicle that covers at least 2 % of the picture is erased, or one of another frame
pasted. The second table has the scores of the gate of structure for variants without defect.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import DamagedInput
from nightrain.datasets.frame import Frame
from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.shards.rows import GENERATION_COLUMNS, frame_from_row
from nightrain.datasets.splits import NO_SPLIT
from nightrain.datasets.world.export.truth import image_file, truth_file
from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.engines.registry import load_engine
from nightrain.pipelines.engines.retry import run_engine
from nightrain.pipelines.gates.base import Gate, GateRejected
from nightrain.pipelines.gates.built_in import AlignmentSettings, FaultsSettings, StructureSettings
from nightrain.pipelines.gates.structure import Structure, structure
from nightrain.pipelines.generate.prepare import prepare_frame
from nightrain.pipelines.generate.requests import plan_requests, request_for
from nightrain.pipelines.inspect.stats import sample
from nightrain.pipelines.recipes.recipe_file import load_recipe
from nightrain.pipelines.runs.selection import select_frames

LEAST_VEHICLE = 0.02  # of the picture
VEHICLES = (13, 14, 15)  # Cityscapes' train ids: car, truck, bus
INPAINT_WIDTH, GROWN_PX, PASTED_ASIDE = 384, 9, 0.3


class Made(NamedTuple):
    """A variant, with the mask (H, W) bool of a vehicle in it; None where there is none."""

    request: Request
    variant: Variant
    vehicle: np.ndarray | None

    @property
    def image(self) -> np.ndarray:
        """The variant's picture (H, W, 3)."""
        return self.variant.image


Defect = Callable[[Made, Made], np.ndarray | None]  # of a variant, given another frame's


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


def erased(made: Made) -> np.ndarray | None:
    """The picture (H, W, 3) without its vehicle, filled in from around it."""
    if made.vehicle is None:
        return None
    height, width = made.image.shape[:2]
    size = INPAINT_WIDTH, round(height * INPAINT_WIDTH / width)
    kernel = np.ones((GROWN_PX, GROWN_PX), np.uint8)
    hole = cv2.dilate(made.vehicle.astype(np.uint8), kernel)
    small = cv2.resize(hole, size, interpolation=cv2.INTER_NEAREST)
    filled = cv2.inpaint(cv2.resize(made.image, size), small, 5, cv2.INPAINT_TELEA)
    filled = cv2.resize(filled, (width, height)).astype(np.float32)
    filled += np.random.default_rng(0).normal(0, 2, filled.shape)  # as the picture around it
    return np.where(hole[..., None] > 0, filled.clip(0, 255), made.image).astype(np.uint8)


def pasted(made: Made, other: Made) -> np.ndarray | None:
    """The picture (H, W, 3) with another frame's vehicle, moved aside."""
    if other.vehicle is None:
        return None
    half = other.vehicle.shape[1] // 2
    is_left = other.vehicle[:, :half].sum() > other.vehicle[:, half:].sum()
    aside = round((PASTED_ASIDE if is_left else -PASTED_ASIDE) * other.vehicle.shape[1])
    mask, source = (np.roll(field, aside, axis=1) for field in (other.vehicle, other.image))
    return np.where(mask[..., None], source, made.image)


DEFECTS: dict[str, Defect] = {
    "none": lambda made, _: made.image,
    "other frame": lambda made, other: cv2.resize(other.image, made.image.shape[1::-1]),
    "shifted by 8 %": lambda made, _: shifted(made.image, 0.08),
    "shifted by 3 %": lambda made, _: shifted(made.image, 0.03),
    "mirrored": lambda made, _: np.ascontiguousarray(made.image[:, ::-1]),
    "scaled by 1.2": lambda made, _: scaled(made.image, 1.2),
    "black": lambda made, _: made.image // 16,
    "flat": lambda made, _: np.full_like(made.image, round(float(made.image.mean()))),
    "white": lambda made, _: np.where(made.image > np.median(made.image), 255, made.image),
    "posterised to 16 levels": lambda made, _: made.image // 16 * 16,
    "vehicle erased": lambda made, _: erased(made),
    "vehicle pasted": pasted,
}


def variants(
    dataset: Path, recipe_name: str, split: str, num_frames: int, world: Path | None
) -> Iterator[Made]:
    """Yield the variants of a recipe of evenly spaced clear frames of a split."""
    recipe, manifest = load_recipe(recipe_name, dataset), Manifest(dataset)
    selected = select_frames(
        manifest, (Condition.CLEAR,), product="variants", include_evaluation_scenes=True
    )
    entries = [entry for entry in selected.kept if entry.about.get("split", NO_SPLIT) == split]
    engine = load_engine(recipe.engine)
    for row in sample(manifest, entries, num_frames, GENERATION_COLUMNS):
        frame = frame_from_row(row)
        try:
            prepared = prepare_frame(frame, recipe)
        except DamagedInput:
            continue
        vehicle = vehicle_of(world, frame, prepared.image.shape) if world else None
        for condition in recipe.conditions:
            planned = next(plan_requests([row], recipe, condition, None))
            request = request_for(planned, prepared, condition, recipe)
            (outcome,) = run_engine(engine, [request], 1)
            if not isinstance(outcome, Exception):
                yield Made(request, outcome, vehicle)


def vehicle_of(world: Path, frame: Frame, shape: tuple[int, ...]) -> np.ndarray | None:
    """Mask (H, W) bool of the largest vehicle, if it covers at least 2 % of the picture."""
    name = image_file(frame.scene_id, frame.camera, frame.timestamp_us)
    instance, semantic = (
        cv2.imread(str(world / truth_file(kind, name)), cv2.IMREAD_UNCHANGED)
        for kind in ("instance", "semantic")
    )
    counts = np.bincount(instance[np.isin(semantic, VEHICLES) & (instance > 0)])
    if not counts.size or counts.max() < LEAST_VEHICLE * instance.size:
        return None
    mask = (instance == counts.argmax()).astype(np.uint8)
    return cv2.resize(mask, shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0


def rejected(gates: dict[str, Gate], made: list[Made]) -> dict[str, dict[str, list[bool]]]:
    """Whether each variant is rejected, by defect and condition."""
    found: dict[str, dict[str, list[bool]]] = {name: defaultdict(list) for name in DEFECTS}
    for index, one in enumerate(made):
        others = [
            m
            for m in made
            if m.request.condition == one.request.condition
            and m.request.image is not one.request.image
        ]
        other = others[index % len(others)]
        for name, defect in DEFECTS.items():
            image = defect(one, other)
            if image is None:
                continue
            seeded = replace(one.variant, image=image.astype(np.uint8))
            verdicts = (gate(one.request, seeded) for gate in gates.values())
            is_rejected = any(isinstance(verdict, GateRejected) for verdict in verdicts)
            found[name][str(one.request.condition)].append(is_rejected)
    return found


def score_lines(made: list[Made]) -> Iterator[str]:
    """Yield quantiles of the scores of structure, of variants without defect, as Markdown."""
    yield "| condition | score | median | 95 % | 99 % | largest |"
    yield "| --- | --- | ---: | ---: | ---: | ---: |"
    scores: dict[str, list[Structure]] = defaultdict(list)
    for one in made:
        scores[str(one.request.condition)].append(structure(one.request.image, one.variant))
    for condition, found in scores.items():
        for name in Structure._fields:
            values = [getattr(score, name) for score in found]
            cells = [f"{np.quantile(values, q):.2f}" for q in (0.5, 0.95, 0.99, 1.0)]
            yield f"| {condition} | {name} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--recipe", default="weather")
    parser.add_argument("--split", default="val", help="split of the frames, or none")
    parser.add_argument("--frames", type=int, default=40, help="maximum clear frames")
    parser.add_argument("--world", type=Path, help="rendered folder, for vehicles")
    options = parser.parse_args()
    settings = (FaultsSettings(), AlignmentSettings(), StructureSettings())
    gates = {one.name: one.build() for one in settings}
    made = list(
        variants(options.dataset, options.recipe, options.split, options.frames, options.world)
    )
    conditions = list(dict.fromkeys(str(one.request.condition) for one in made))
    print(f"{len(made)} variants. Share rejected:\n")
    print(f"| defect | variants | {' | '.join(conditions)} |")
    print("| --- | ---: |" + " ---: |" * len(conditions))
    for name, verdicts in rejected(gates, made).items():
        if verdicts:
            cells = [f"{np.mean(verdicts[condition]):.1%}" for condition in conditions]
            count = sum(map(len, verdicts.values()))
            print(f"| {name} | {count} | {' | '.join(cells)} |")
    print("\n" + "\n".join(score_lines(made)))


if __name__ == "__main__":
    main()
