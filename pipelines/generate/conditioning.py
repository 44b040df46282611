"""Request conditioning: captions, prompts and control images."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from nightrain.datasets.shards.control_maps import map_rows
from nightrain.datasets.shards.manifest import Entry, Manifest, Shard
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.shards.rows import GENERATION_COLUMNS, objects_of
from nightrain.pipelines.captions.caption_shard import captions_of
from nightrain.pipelines.captions.captioners import load_captioner
from nightrain.pipelines.captions.metadata import MetadataCaptioner, about_frame
from nightrain.pipelines.captions.prompts import prompt
from nightrain.pipelines.controls.control_image import depth_control, depth_image
from nightrain.pipelines.controls.depth_source import RelativeDepth
from nightrain.pipelines.controls.edges import canny_edges, soft_edges
from nightrain.pipelines.controls.given import GivenDepth
from nightrain.pipelines.controls.map_shard import control_maps_table
from nightrain.pipelines.controls.settings import Scaling, require_control_kinds
from nightrain.pipelines.engines.base import Request
from nightrain.pipelines.generate.prepare import CONTROL
from nightrain.pipelines.recipes.recipe import Recipe


def read_captions(manifest: Manifest, frames: Shard, recipe: Recipe) -> Mapping[str, str] | None:
    """Read the captions of a frames shard by frame id; None if they come from the rows.

    Raises InvalidRequest if the recipe's captioner has not captioned the shard.
    """
    conditioning = recipe.engine.conditioning
    if conditioning is None or conditioning.captioner == "metadata":
        return None
    return captions_of(manifest, frames, load_captioner(conditioning.captioner))


def generation_rows(manifest: Manifest, frames: Entry, recipe: Recipe) -> Iterator[Row]:
    """Yield the rows of a frames shard with the columns that generation reads.

    If the recipe has a depth network, each has the frame's row of control maps under CONTROL.
    Raises InvalidRequest if the maps have not been made.
    """
    rows = manifest.reader(frames.rows).rows(GENERATION_COLUMNS)
    if recipe.mapped_depth is None:
        return rows
    maps = map_rows(manifest, frames, control_maps_table(recipe.mapped_depth))
    return (row | {CONTROL: control} for row, control in zip(rows, maps, strict=True))


def read_captions_of(
    manifest: Manifest, frames: Sequence[Entry], recipe: Recipe
) -> Mapping[str, str] | None:
    """Read the captions of several frames shards, like `read_captions`; raises InvalidRequest."""
    found: dict[str, str] = {}
    for entry in frames:
        captions = read_captions(manifest, entry.shard, recipe)
        if captions is None:
            return None
        found |= captions
    return found


def caption_of(row: Row, recipe: Recipe, captions: Mapping[str, str] | None) -> str:
    """Return the caption of a frame's row; "" without one, and for engines without prompts."""
    if recipe.engine.conditioning is None:
        return ""
    if captions is not None:
        return captions.get(row["frame_id"], "")
    image = np.zeros((1, 1, 3), np.uint8)  # this captioner does not look at it
    return MetadataCaptioner().caption([image], [about_frame(objects_of(row))])[0]


def add_conditioning(
    request: Request, caption: str, recipe: Recipe, inverse_depth: np.ndarray | None = None
) -> Request:
    """Return the request with the prompt and control images that the recipe's engine takes.

    `inverse_depth` (H, W) is the frame's control map if the recipe has a depth network. Raises
    DamagedInput if no control image can be made from the frame's depth, InvalidRequest for a kind
    of control image that cannot be computed.
    """
    conditioning = recipe.engine.conditioning
    if conditioning is None:
        return request
    require_control_kinds(conditioning.controls)
    size = (request.image.shape[1], request.image.shape[0])
    depth = conditioning.control_depth

    def control(kind: str) -> np.ndarray:
        if kind == "depth" and inverse_depth is not None and not conditioning.depth_is_given:
            return depth_image(RelativeDepth(inverse_depth), size, depth.scaling)
        return _control(kind, request, size, depth.scaling)

    controls = tuple(control(kind) for kind in conditioning.controls)
    seed = request.seed if conditioning.varied_prompts else None
    text = prompt(request.condition, caption, varied_by_seed=seed)
    return replace(request, prompt=text, control_images=controls)


def _control(kind: str, request: Request, size: tuple[int, int], scaling: Scaling) -> np.ndarray:
    if kind == "depth":
        return depth_control(GivenDepth(), request, size, scaling)
    if kind == "canny":
        return canny_edges(request.image, size)
    return soft_edges(request.image, size)
