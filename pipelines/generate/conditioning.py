"""Request conditioning: captions, prompts and control images."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from nightrain.datasets.shards.manifest import Entry, Manifest, Shard
from nightrain.datasets.shards.parquet import Row
from nightrain.pipelines.captions.caption_shard import captions_of
from nightrain.pipelines.captions.captioners import load_captioner
from nightrain.pipelines.captions.metadata import MetadataCaptioner
from nightrain.pipelines.controls.control_image import depth_control
from nightrain.pipelines.controls.edges import canny_edges, soft_edges
from nightrain.pipelines.controls.load_source import load_depth_source
from nightrain.pipelines.controls.settings import ControlDepth, require_control_kinds
from nightrain.pipelines.engines.base import Request
from nightrain.pipelines.generate.prompts import prompt
from nightrain.pipelines.recipes.recipe import Recipe


def read_captions(manifest: Manifest, frames: Shard, recipe: Recipe) -> Mapping[str, str] | None:
    """Read the captions of a frames shard by frame id; None if they come from the rows.

    Raises InvalidRequest if the recipe's captioner has not captioned the shard.
    """
    conditioning = recipe.engine.conditioning
    if conditioning is None or conditioning.captioner == "metadata":
        return None
    return captions_of(manifest, frames, load_captioner(conditioning.captioner))


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
    return MetadataCaptioner().caption([image], [row["description"] or ""])[0]


def add_conditioning(request: Request, caption: str, recipe: Recipe) -> Request:
    """Return the request with the prompt and control images that the recipe's engine takes.

    Raises DamagedInput if no control image can be made from the frame's depth, InvalidRequest for a
    kind of control image that cannot be computed.
    """
    conditioning = recipe.engine.conditioning
    if conditioning is None:
        return request
    require_control_kinds(conditioning.controls)
    size = (request.image.shape[1], request.image.shape[0])
    depth = conditioning.control_depth
    controls = tuple(_control(kind, request, size, depth) for kind in conditioning.controls)
    seed = request.seed if conditioning.varied_prompts else None
    text = prompt(request.condition, caption, varied_by_seed=seed)
    return replace(request, prompt=text, control_images=controls)


def _control(kind: str, request: Request, size: tuple[int, int], depth: ControlDepth) -> np.ndarray:
    if kind == "depth":
        return depth_control(load_depth_source(depth), request, size, depth.scaling)
    if kind == "canny":
        return canny_edges(request.image, size)
    return soft_edges(request.image, size)
