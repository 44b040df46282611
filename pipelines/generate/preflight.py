"""Preflight of a generation run: everything that all samples need, checked once.

It runs before any shard is leased. What is missing or does not fit would otherwise fail every
sample, one by one: captions, image sizes, models and adapters, style images.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from nightrain.datasets.errors import CorruptShard, UnreadableFile
from nightrain.datasets.shards.manifest import FRAMES, Entry, Manifest, Shard
from nightrain.pipelines.engines.engine_settings import EngineSettings
from nightrain.pipelines.engines.registry import load_engine
from nightrain.pipelines.engines.retry import resting
from nightrain.pipelines.generate.batch_size import unpin_batch_size
from nightrain.pipelines.generate.conditioning import read_captions
from nightrain.pipelines.recipes.recipe import Recipe
from nightrain.pipelines.runs import stop as stopping
from nightrain.pipelines.runs.device_lock import sole_use
from nightrain.pipelines.runs.executors import Executor, check_once


def preflight(
    root: Path,
    recipe: Recipe,
    shards: Sequence[Shard],
    executor: Executor,
    *,
    reprobe: bool = False,
) -> None:
    """Check what the shards that are not committed need; loads nothing if all are.

    The engine is loaded in this process, or in a worker process if the executor uses some. With
    `reprobe`, the batch sizes pinned for this device model are forgotten. Raises InvalidRequest.
    """
    manifest = Manifest(root)
    committed = {entry.shard.name for entry in manifest.committed(shards)}
    missing = [shard for shard in shards if shard.name not in committed]
    if not missing:
        return
    for entry in _frames(manifest, missing):
        with suppress(CorruptShard, UnreadableFile):  # its own shards of variants will say so
            _check_frames(manifest, entry, recipe)
    check = partial(_check_engine, root, recipe, reprobe=reprobe)
    if recipe.engine.uses_gpu:
        check_once(executor, check)
    else:
        check()


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
