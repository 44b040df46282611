"""Preflight of a generation run: everything that all samples need, checked once.

It runs before any shard is leased. What is missing or does not fit would otherwise fail every
sample, one by one: captions, image sizes, models and adapters, style images.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from nightrain.datasets.shards.manifest import FRAMES, Entry, Manifest, Shard
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
    missing = [shard for shard in shards if manifest.entry(shard) is None]
    if not missing:
        return
    for size in _sizes(manifest, _frames(manifest, missing)):
        recipe.engine.require_frame_size(size)
    for entry in _frames(manifest, missing):
        read_captions(manifest, entry.shard, recipe)
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


def _sizes(manifest: Manifest, frames: Sequence[Entry]) -> set[tuple[int, int]]:
    """Distinct (width, height) of frames; raises CorruptShard."""
    found: set[tuple[int, int]] = set()
    for entry in frames:
        columns = manifest.reader(entry.rows).table(["width", "height"]).to_pydict()
        found |= set(zip(columns["width"], columns["height"], strict=True))
    return found


def _frames(manifest: Manifest, shards: Sequence[Shard]) -> list[Entry]:
    """Entries of the frames shards behind shards of variants."""
    numbers = dict.fromkeys(shard.number for shard in shards)
    found = (manifest.entry(Shard(table=FRAMES, number=number)) for number in numbers)
    return [entry for entry in found if entry is not None]
