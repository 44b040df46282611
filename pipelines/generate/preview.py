"""Recipe preview: a few frames, their depth and a variant per condition; nothing is committed.

A seed depends only on frame, condition, recipe and index, so a preview shows exactly the variants
that `generate` will commit.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from nightrain.datasets.conditions import QUANTITIES, Condition
from nightrain.datasets.errors import DamagedInput, InvalidRequest
from nightrain.datasets.io.images import decode_jpeg
from nightrain.datasets.shards.manifest import FRAMES, Manifest
from nightrain.datasets.shards.rows import GENERATION_COLUMNS, frame_from_row
from nightrain.pipelines.engines.base import Variant
from nightrain.pipelines.engines.registry import load_engine
from nightrain.pipelines.gates.apply import apply_gates
from nightrain.pipelines.gates.registry import load_gates
from nightrain.pipelines.generate.conditioning import read_captions_of
from nightrain.pipelines.generate.prepare import prepare_frame
from nightrain.pipelines.generate.requests import PlannedRequest, plan_requests, request_for
from nightrain.pipelines.generate.retry import run_engine
from nightrain.pipelines.inspect.contact_sheet import Tile, colour_depth, contact_sheet
from nightrain.pipelines.inspect.stats import sample
from nightrain.pipelines.recipes.recipe import Recipe


def write_preview(
    root: Path, recipe: Recipe, out: Path, num_frames: int = 4, num_columns: int = 8
) -> Path:
    """Write a contact sheet (PNG or JPEG) of evenly spaced clear frames; raises InvalidRequest."""
    lines = [
        line[start : start + num_columns]
        for line in preview_lines(root, recipe, num_frames)
        for start in range(0, len(line), num_columns)
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(contact_sheet(lines)).save(out, quality=90)
    return out


def preview_lines(root: Path, recipe: Recipe, num_frames: int) -> Iterator[list[Tile]]:
    """Yield a row of tiles per frame: clear, depth or control image, one variant per condition.

    Raises InvalidRequest.
    """
    manifest = Manifest(root)
    entries = [
        e for e in manifest.entries(FRAMES) if e.about.get("condition", "clear") == Condition.CLEAR
    ]
    rows = sample(manifest, entries, num_frames, GENERATION_COLUMNS)
    if not rows:
        raise InvalidRequest(
            f"{root} contains no clear frames to preview. Run `nightrain ingest` first."
        )
    captions = read_captions_of(manifest, entries, recipe)
    for row in rows:
        yield _line(row, recipe, captions)


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
            tiles.append(_tile(planned, condition, error, prepared.image))
            continue
        if len(tiles) == 1 and request.control_images:
            tiles.append(Tile(request.control_images[0], f"control ({prepared.depth_source})"))
        outcome = run_engine(load_engine(recipe.engine), [request])[0]
        outcome = apply_gates(load_gates(recipe.gates), request, outcome)
        tiles.append(_tile(planned, condition, outcome, prepared.image))
    return tiles


def _tile(
    planned: PlannedRequest, condition: Condition, outcome: Variant | Exception, clear: np.ndarray
) -> Tile:
    if isinstance(outcome, Exception):
        return Tile(np.zeros_like(clear), f"{condition}: {outcome}")
    known = [q for q in QUANTITIES if q.is_weather and q.name in outcome.physical]
    physical = ", ".join(f"{outcome.physical[q.name]:.3g} {q.unit}" for q in known)
    return Tile(outcome.image, f"{condition} {planned.severity:.2f} ({physical})")
