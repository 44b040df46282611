"""Previews: contact sheets of what a recipe generates, of what is committed, and of quarantine.

A seed depends only on frame, condition, recipe and index, so a preview shows exactly the variants
that `generate` will commit.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, assert_never

import numpy as np
from PIL import Image

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import DamagedInput, InvalidRequest, Reason
from nightrain.datasets.io.atomic import no_space_is_disk_full, require_writable, write_whole
from nightrain.datasets.io.images import decode_jpeg
from nightrain.datasets.shards.manifest import FRAMES, Entry, Manifest
from nightrain.datasets.shards.rows import GENERATION_COLUMNS, frame_from_row
from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.engines.diffusion.models.styles import StylePool
from nightrain.pipelines.engines.registry import load_engine
from nightrain.pipelines.engines.retry import run_engine
from nightrain.pipelines.gates.apply import apply_gates
from nightrain.pipelines.gates.registry import load_gates
from nightrain.pipelines.generate.conditioning import read_captions_of
from nightrain.pipelines.generate.prepare import PreparedFrame, prepare_frame
from nightrain.pipelines.generate.requests import plan_requests, request_for
from nightrain.pipelines.inspect.committed_tiles import (
    committed_lines,
    quarantine_lines,
    variant_label,
)
from nightrain.pipelines.inspect.contact_sheet import Tile, colour_depth, contact_sheet, text_tile
from nightrain.pipelines.inspect.stats import sample
from nightrain.pipelines.recipes.recipe import Recipe
from nightrain.pipelines.runs.selection import select_frames

Show = Literal["recipe", "committed", "quarantine"]
SUFFIXES = (".png", ".jpg", ".jpeg")
NOTHING: Mapping[Show, str] = {
    "recipe": "{root} holds no clear frames to preview.",
    "committed": "{root} holds no committed variants of recipe {recipe!r}. Run `nightrain generate`"
    " first, or preview what it would make with --show recipe.",
    "quarantine": "{root} has no frames and no variants of recipe {recipe!r} in quarantine.",
}


def write_preview(
    root: Path,
    recipe: Recipe,
    out: Path,
    num_frames: int = 4,
    num_columns: int = 8,
    *,
    show: Show = "recipe",
    include_evaluation_scenes: bool = False,
) -> Path:
    """Write a contact sheet (PNG or JPEG) of evenly spaced clear frames; raises InvalidRequest.

    `show` selects what a recipe generates, its committed variants, or what is in quarantine.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise InvalidRequest(f"--out is {str(out)!r}; expected a name that ends with .png or .jpg.")
    manifest, tables = Manifest(root), {str(c): recipe.table(c) for c in recipe.conditions}
    match show:
        case "recipe":
            lines = preview_lines(root, recipe, num_frames, include_evaluation_scenes)
        case "committed":
            frames = _selected(manifest, include_evaluation_scenes)
            lines = committed_lines(manifest, frames, tables, num_frames)
        case "quarantine":
            lines = quarantine_lines(manifest, [FRAMES, *tables.values()], num_frames)
        case _:
            assert_never(show)
    wrapped = [
        line[start : start + num_columns]
        for line in lines
        for start in range(0, len(line), num_columns)
    ]
    if not wrapped:
        raise InvalidRequest(NOTHING[show].format(root=root, recipe=recipe.name))
    _save(contact_sheet(wrapped), out)
    return out


def _save(sheet: np.ndarray, out: Path) -> None:
    try:
        with no_space_is_disk_full(out.parent):
            write_whole(out, lambda draft: Image.fromarray(sheet).save(draft, quality=90))
    except OSError as error:
        raise InvalidRequest(
            f"{out} cannot be written ({error.strerror}). Choose another file with --out."
        ) from error


def write_default_preview(root: Path, name: str, write: Callable[[Path], Path]) -> Path:
    """Write a preview to the dataset's folder, or to this one if the dataset cannot be written.

    Raises InvalidRequest if neither can be written.
    """
    try:
        require_writable(root)
    except InvalidRequest:
        return write(Path(name))
    return write(root / name)


def preview_lines(
    root: Path, recipe: Recipe, num_frames: int, include_evaluation_scenes: bool = False
) -> Iterator[list[Tile]]:
    """Yield a row of tiles per frame: clear, depth, controls, then style and variant by condition.

    Frames of val and test scenes are left out by default, as `generate` does. Raises
    InvalidRequest.
    """
    manifest = Manifest(root)
    entries = _selected(manifest, include_evaluation_scenes)
    rows = sample(manifest, entries, num_frames, GENERATION_COLUMNS)
    captions = read_captions_of(manifest, entries, recipe)
    for row in rows:
        yield _line(row, recipe, captions)


def _selected(manifest: Manifest, include_evaluation_scenes: bool) -> list[Entry]:
    return select_frames(
        manifest,
        (Condition.CLEAR,),
        product="variants",
        include_evaluation_scenes=include_evaluation_scenes,
    ).kept


def _line(row: dict, recipe: Recipe, captions: Mapping[str, str] | None) -> list[Tile]:
    tiles: list[Tile] = []
    for condition in recipe.conditions:
        planned = next(plan_requests([row], recipe, condition, captions))
        try:
            prepared = prepare_frame(frame_from_row(row), recipe)
        except DamagedInput as error:
            return [Tile(decode_jpeg(row["image"]["bytes"]), f"{row['camera']}: {error.reason}")]
        if not tiles:
            tiles.append(Tile(prepared.image, f"{row['scene_id']} {row['camera']}"))
            if prepared.depth_m is not None:
                label = f"depth ({prepared.depth_source})"
                tiles.append(Tile(colour_depth(prepared.depth_m), label))
        try:
            request = request_for(planned, prepared, condition, recipe)
        except DamagedInput as error:
            tiles.append(_tile(None, condition, error, prepared.image))
            continue
        if condition == next(iter(recipe.conditions)):
            tiles += _controls(request, recipe, prepared)
        tiles += _style(request, recipe)
        outcome = run_engine(load_engine(recipe.engine), [request])[0]
        outcome = _judged(recipe, request, outcome)
        severity = planned.severity if recipe.engine.uses_severity else None
        tiles.append(_tile(severity, condition, outcome, prepared.image, request.prompt))
    return tiles


def _judged(recipe: Recipe, request: Request, outcome: Variant | Exception) -> Variant | Exception:
    """The variant, or the sentences of the gates that reject it."""
    if isinstance(outcome, Exception):
        return outcome
    try:
        verdict = apply_gates(
            recipe.gates, load_gates(recipe.gates), request, outcome, recipe.gates_inverted
        )
    except DamagedInput as error:
        return error
    if verdict.rejections:
        return DamagedInput(Reason.GATE_REJECTED, verdict.words)
    return outcome


def _controls(request: Request, recipe: Recipe, prepared: PreparedFrame) -> list[Tile]:
    """The control images of a frame, as the ControlNets see them."""
    conditioning = recipe.engine.conditioning
    kinds = () if conditioning is None else conditioning.controls
    sources = (prepared.depth_source if kind == "depth" else kind for kind in kinds)
    found = zip(request.control_images, sources, strict=True)
    return [Tile(image, f"control ({source})") for image, source in found]


def _style(request: Request, recipe: Recipe) -> list[Tile]:
    """The style image of a request, if the recipe has a pool of them."""
    conditioning = recipe.engine.conditioning
    if conditioning is None or conditioning.style_pool is None:
        return []
    pool = StylePool(conditioning.style_pool)
    name = pool.draw(request.condition, request.seed)
    return [Tile(pool.read(name), f"style ({name})")]


def _tile(
    severity: float | None,
    condition: Condition,
    outcome: Variant | Exception,
    clear: np.ndarray,
    prompt: str = "",
) -> Tile:
    if isinstance(outcome, Exception):
        return text_tile(f"{condition}: {outcome}", str(outcome), clear.shape)
    return Tile(outcome.image, variant_label(condition, severity, outcome.physical), prompt)
