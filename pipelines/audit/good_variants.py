"""Good variants for an audit: those that a recipe makes of evenly spaced clear frames."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import DamagedInput, InvalidRequest
from nightrain.datasets.frame import Frame
from nightrain.datasets.io.images import decode_jpeg, resize_image
from nightrain.datasets.loader.twins import recorded_frames
from nightrain.datasets.shards.manifest import Manifest
from nightrain.datasets.shards.rows import GENERATION_COLUMNS, frame_from_row
from nightrain.datasets.splits import NO_SPLIT, Split, is_in_split
from nightrain.datasets.world.export.truth import image_file, truth_file
from nightrain.pipelines.audit.defects import Good
from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.engines.diffusion.models.settings import DiffusionSettings
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


Paintings = Mapping[tuple[str, Condition], np.ndarray]  # by frame_id and condition


class FrameRequests(NamedTuple):
    """A clear frame, and the requests for its first variant of each condition."""

    frame: Frame
    requests: tuple[Request, ...]


def good_variants(
    dataset: Path,
    recipe: Recipe,
    split: Split,
    num_frames: int,
    world: Path | None,
    paintings: Paintings,
) -> Iterator[Good]:
    """Yield a variant per frame and condition; what the engine cannot make is left out.

    With `world`, the rendered folder that the dataset was read from, each has the mask of its
    largest vehicle, and with `paintings` the one of its frame and condition. Raises InvalidRequest
    where the split has no clear frames.
    """
    engine = load_engine(recipe.engine)
    for frame, requests in requests_of(dataset, recipe, split, num_frames):
        vehicle = vehicle_of(world, frame, requests[0].image.shape) if world else None
        for request in requests:
            (outcome,) = run_engine(engine, [request], 1)
            if not isinstance(outcome, Exception):
                painting = paintings.get((frame.frame_id, request.condition))
                yield Good(frame.scene_id, request, outcome, vehicle, painting)


def paintings_of(dataset: Path, recipe: Recipe, split: Split, num_frames: int) -> Paintings:
    """What a diffusion recipe's model draws of the same frames' prompts with its control off.

    Raises InvalidRequest for a recipe of another engine.
    """
    if not isinstance(recipe.engine, DiffusionSettings):
        raise InvalidRequest(
            f"recipe {recipe.name!r} has the engine {recipe.engine.name!r}, expected 'diffusion': "
            "name a diffusion recipe with --painter, or leave it out."
        )
    off = {"mode": "text2image", "controls": (), "allow_no_control": True}
    free = recipe.model_copy(update={"engine": recipe.engine.model_copy(update=off)})
    engine, found = load_engine(free.engine), dict[tuple[str, Condition], np.ndarray]()
    for frame, requests in requests_of(dataset, free, split, num_frames):
        for request, outcome in zip(requests, run_engine(engine, requests), strict=True):
            if not isinstance(outcome, Exception):
                found[frame.frame_id, request.condition] = outcome.image
    return found


def recorded_twins(dataset: Path, recipe: Recipe, split: Split, num_frames: int) -> Iterator[Good]:
    """Yield the recorded twins of the same frames in the place of variants, where there are any.

    They have the geometry of the clear frame and the weather of the world: what gates reject of
    them, they reject of perfect variants.
    """
    manifest, recorded = Manifest(dataset), recorded_frames(dataset, split)
    geometry_of = {one.frame_id: one.geometry for one in recorded}
    twins = {(one.geometry, one.condition): one for one in recorded}
    for frame, requests in requests_of(dataset, recipe, split, num_frames):
        for request in requests:
            twin = twins.get((geometry_of[frame.frame_id], request.condition))
            if twin is not None:
                row = manifest.reader(twin.entry.rows).row(twin.row, ("image",))
                height, width = request.image.shape[:2]
                image = resize_image(decode_jpeg(row["image"]["bytes"]), (width, height))
                yield Good(frame.scene_id, request, Variant(image=image))


def requests_of(
    dataset: Path, recipe: Recipe, split: Split, num_frames: int
) -> Iterator[FrameRequests]:
    """Yield evenly spaced clear frames of a split with a recipe's requests.

    Frames without the recipe's depth are left out. Raises InvalidRequest where the split has no
    clear frames.
    """
    manifest = Manifest(dataset)
    selected = select_frames(
        manifest, (Condition.CLEAR,), product="variants", include_evaluation_scenes=True
    )
    entries = [e for e in selected.kept if is_in_split(e.about.get("split", NO_SPLIT), split)]
    if not entries:
        raise InvalidRequest(f"{dataset} has no clear frames in split {split!r}; name another")
    captions = read_captions_of(manifest, entries, recipe)
    for row in sample(manifest, entries, num_frames, GENERATION_COLUMNS):
        frame = frame_from_row(row)
        try:
            prepared = prepare_frame(frame, recipe)
        except DamagedInput:
            continue
        planned = {c: next(plan_requests([row], recipe, c, captions)) for c in recipe.conditions}
        requests = (request_for(one, prepared, c, recipe) for c, one in planned.items())
        yield FrameRequests(frame, tuple(requests))


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
