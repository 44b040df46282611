"""Good variants for an audit: those that a recipe makes of evenly spaced clear frames."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import DamagedInput, InvalidRequest
from nightrain.datasets.frame import Frame
from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.shards.rows import GENERATION_COLUMNS, frame_from_row
from nightrain.datasets.splits import NO_SPLIT
from nightrain.datasets.world.export.truth import image_file, truth_file
from nightrain.pipelines.audit.defects import Good
from nightrain.pipelines.engines.registry import load_engine
from nightrain.pipelines.engines.retry import run_engine
from nightrain.pipelines.generate.conditioning import read_captions_of
from nightrain.pipelines.generate.prepare import prepare_frame
from nightrain.pipelines.generate.requests import plan_requests, request_for
from nightrain.pipelines.inspect.stats import sample
from nightrain.pipelines.recipes.recipe import Recipe
from nightrain.pipelines.runs.selection import select_frames

LEAST_VEHICLE = 0.02  # of the picture
VEHICLES = (13, 14, 15)  # Cityscapes' train ids: car, truck, bus


def good_variants(
    dataset: Path, recipe: Recipe, split: str, num_frames: int, world: Path | None
) -> Iterator[Good]:
    """Yield a variant per frame and condition; frames without the recipe's depth are left out.

    With `world`, the rendered folder that the dataset was read from, each has the mask of its
    largest vehicle. Raises InvalidRequest where the split has no clear frames.
    """
    manifest = Manifest(dataset)
    selected = select_frames(
        manifest, (Condition.CLEAR,), product="variants", include_evaluation_scenes=True
    )
    entries = [entry for entry in selected.kept if entry.about.get("split", NO_SPLIT) == split]
    if not entries:
        raise InvalidRequest(f"{dataset} has no clear frames in split {split!r}; name another")
    engine, captions = load_engine(recipe.engine), read_captions_of(manifest, entries, recipe)
    for row in sample(manifest, entries, num_frames, GENERATION_COLUMNS):
        frame = frame_from_row(row)
        try:
            prepared = prepare_frame(frame, recipe)
        except DamagedInput:
            continue
        vehicle = vehicle_of(world, frame, prepared.image.shape) if world else None
        for condition in recipe.conditions:
            planned = next(plan_requests([row], recipe, condition, captions))
            request = request_for(planned, prepared, condition, recipe)
            (outcome,) = run_engine(engine, [request], 1)
            if not isinstance(outcome, Exception):
                yield Good(frame.scene_id, request, outcome, vehicle)


def vehicle_of(world: Path, frame: Frame, shape: tuple[int, ...]) -> np.ndarray | None:
    """Mask (H, W) bool of the largest vehicle, if it covers at least 2 % of the picture.

    Raises InvalidRequest for a folder without the frame's classes.
    """
    name = image_file(frame.scene_id, frame.camera, frame.timestamp_us)
    instance, semantic = (
        cv2.imread(str(world / truth_file(kind, name)), cv2.IMREAD_UNCHANGED)
        for kind in ("instance", "semantic")
    )
    if instance is None or semantic is None:
        raise InvalidRequest(
            f"{world} has no classes of {name}; give the rendered folder that the dataset was read "
            "from, or leave --world out."
        )
    counts = np.bincount(instance[np.isin(semantic, VEHICLES) & (instance > 0)])
    if not counts.size or counts.max() < LEAST_VEHICLE * instance.size:
        return None
    mask = (instance == counts.argmax()).astype(np.uint8)
    return cv2.resize(mask, shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0
