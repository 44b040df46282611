"""Preflight of a generation run: everything that all samples need, checked once.

It runs before any shard is leased. What is missing or does not fit would otherwise fail every
sample, one by one: captions, image sizes, depth, models and adapters, style images.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from nightrain.datasets.errors import CorruptShard, InvalidRequest, Reason, UnreadableFile
from nightrain.datasets.shards.manifest import FRAMES, Entry, Manifest, Shard
from nightrain.pipelines.controls.load_source import gives_metres
from nightrain.pipelines.engines.engine_settings import EngineSettings
from nightrain.pipelines.engines.registry import load_engine
from nightrain.pipelines.engines.retry import resting
from nightrain.pipelines.generate.batch_size import unpin_batch_size
from nightrain.pipelines.generate.conditioning import read_captions
from nightrain.pipelines.recipes.recipe import Recipe
from nightrain.pipelines.runs import stop as stopping
from nightrain.pipelines.runs.device_lock import sole_use
from nightrain.pipelines.runs.executors import Executor, check_once

MOUNTING = "T_ego_camera"


def preflight(
    root: Path,
    recipe: Recipe,
    shards: Sequence[Shard],
    executor: Executor,
    *,
    reprobe: bool = False,
) -> list[str]:
    """Check what the shards that are not committed need; loads nothing if all are.

    The engine is loaded in this process, or in a worker process if the executor uses some. With
    `reprobe`, the batch sizes pinned for this device model are forgotten. Returns warnings in
    sentences. Raises InvalidRequest.
    """
    manifest = Manifest(root)
    committed = {entry.shard.name for entry in manifest.committed(shards)}
    missing = [shard for shard in shards if shard.name not in committed]
    if not missing:
        return []
    frames = _frames(manifest, missing)
    for entry in frames:
        with suppress(CorruptShard, UnreadableFile):  # its own shards of variants will say so
            _check_frames(manifest, entry, recipe)
    others = _frames(manifest, [shard for shard in shards if shard.name in committed])
    require_depth(manifest, recipe, frames, others)
    warnings = _depth_warnings(manifest, recipe, frames)
    check = partial(_check_engine, root, recipe, reprobe=reprobe)
    if recipe.engine.uses_gpu:
        check_once(executor, check)
    else:
        check()
    return warnings


def require_depth(
    manifest: Manifest, recipe: Recipe, frames: Sequence[Entry], others: Sequence[Entry] = ()
) -> None:
    """Raise InvalidRequest if all frames lack the depth that a recipe needs, and `others`, too.

    Reads no further than the first shard with a frame that has it.
    """
    needed = _DepthNeed.of(recipe)
    num_frames = sum(entry.rows.num_rows for entry in frames)
    if needed is None or not num_frames:
        return
    if all(
        needed.num_without(manifest, entry) == entry.rows.num_rows for entry in (*frames, *others)
    ):
        raise InvalidRequest(
            f"None of the {num_frames} frames has {needed.words}, which recipe {recipe.name!r} "
            f"needs. {needed.advice}"
        )


def _depth_warnings(manifest: Manifest, recipe: Recipe, frames: Sequence[Entry]) -> list[str]:
    """Count the frames without the depth that a recipe needs; a warning if some lack it."""
    needed = _DepthNeed.of(recipe)
    num_without = sum(needed.num_without(manifest, entry) for entry in frames) if needed else 0
    if needed is None or not num_without:
        return []
    return [
        f"{num_without} of {sum(entry.rows.num_rows for entry in frames)} frames have no "
        f"{needed.words}, which recipe {recipe.name!r} needs: their variants are quarantined for "
        f"{Reason.NO_DEPTH}"
    ]


@dataclass(frozen=True)
class _DepthNeed:
    """Columns of frames, of which a recipe needs at least one, in words and with advice."""

    columns: tuple[str, ...]
    words: str
    advice: str

    @classmethod
    def of(cls, recipe: Recipe) -> "_DepthNeed | None":
        """Return the need of a recipe; None for one that takes frames without depth."""
        if not recipe.engine.needs_depth:
            return None
        if recipe.depth_network is not None:
            if gives_metres(recipe.depth_network):
                return None
            return cls(
                ("lidar_depth", MOUNTING),
                "LiDAR depth or T_ego_camera to scale a network's relative depth by",
                "Use a network that returns metres.",
            )
        column = "exact_depth" if recipe.depth == "exact" else "lidar_depth"
        other = "lidar" if recipe.depth == "exact" else "exact"
        network = (
            "`depth: network` with `depth_network: {source: midas}`"
            if recipe.engine.conditioning is None
            else "`control_depth: {source: midas}` of the engine"
        )
        is_road = recipe.without_depth == "road-plane"
        road = f", or `without_depth: road-plane` to assume a flat road for frames with {MOUNTING}"
        return cls(
            (column, *((MOUNTING,) if is_road else ())),
            f"{column.removesuffix('_depth')} depth{' or T_ego_camera' if is_road else ''}",
            f"Set `depth: {other}` if the frames have it, {network} to estimate depth"
            f"{'' if is_road else road}.",
        )

    def num_without(self, manifest: Manifest, frames: Entry) -> int:
        """Number of rows of a frames shard without any of the columns; 0 if it cannot be read."""
        leaves = [name if name == MOUNTING else f"{name}.path" for name in self.columns]
        try:
            table = manifest.reader(frames.rows).scan(leaves)
        except (CorruptShard, UnreadableFile):  # its own shards of variants will say so
            return 0
        lacking = np.ones(table.num_rows, bool)
        for name in self.columns:
            lacking &= table.column(name).is_null().to_numpy()
        return int(lacking.sum())


def _check_engine(root: Path, recipe: Recipe, *, reprobe: bool) -> None:
    """Load and check the engine, with its device locked."""
    engine = load_engine(recipe.engine)
    with sole_use(engine.device_id(), lambda: stopping.current().interrupted) as held:
        if not held:
            return  # the run will report that it was stopped
        with resting(engine):
            recipe.engine.preflight(engine, tuple(recipe.conditions))
        if reprobe:
            unpin_batch_size(Manifest(root), recipe, engine)


def _check_frames(manifest: Manifest, frames: Entry, recipe: Recipe) -> None:
    """Check that frames have captions, and sizes that the engine can generate."""
    read_captions(manifest, frames.shard, recipe)
    if type(recipe.engine).require_frame_size is EngineSettings.require_frame_size:
        return  # takes any size
    columns = manifest.reader(frames.rows).scan(["width", "height"]).to_pydict()
    for size in set(zip(columns["width"], columns["height"], strict=True)):
        recipe.engine.require_frame_size(size)


def _frames(manifest: Manifest, shards: Sequence[Shard]) -> list[Entry]:
    """Entries of the frames shards behind shards of variants."""
    numbers = dict.fromkeys(shard.number for shard in shards)
    found = (manifest.entry(Shard(table=FRAMES, number=number)) for number in numbers)
    return [entry for entry in found if entry is not None]
