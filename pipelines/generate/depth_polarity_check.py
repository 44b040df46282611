"""Depth polarity check: before a run, test that a recipe's depth network shows near as white.

A network of inverted polarity would fail on every sample, one by one; this check fails the run at
once.
"""

from collections.abc import Sequence

from nightrain.datasets.errors import DamagedInput
from nightrain.datasets.shards.manifest import FRAMES, Entry, Manifest, Shard
from nightrain.datasets.shards.rows import GENERATION_COLUMNS, frame_from_row
from nightrain.pipelines.controls.load_source import load_depth_source
from nightrain.pipelines.controls.polarity import assert_source_is_near_white
from nightrain.pipelines.generate.prepare import PreparedFrame, prepare_frame
from nightrain.pipelines.inspect.stats import sample
from nightrain.pipelines.recipes.recipe import Recipe

NUM_FRAMES = 8  # the median decides, because a truck next to a side camera can hide the road


def require_near_is_white(manifest: Manifest, shards: Sequence[Shard], recipe: Recipe) -> None:
    """Test a recipe's depth network on a few frames of shards that are not committed.

    Loads nothing for given depth, or if every shard is committed. Raises WrongPolarity, and
    InvalidRequest if the network's weights are missing.
    """
    conditioning = recipe.engine.conditioning
    if conditioning is None or not conditioning.shows_depth or conditioning.depth_is_given:
        return
    scenes = _scenes(manifest, shards, recipe)
    if scenes:
        assert_source_is_near_white(load_depth_source(conditioning.control_depth), scenes)


def _scenes(manifest: Manifest, shards: Sequence[Shard], recipe: Recipe) -> list[PreparedFrame]:
    """Prepare evenly spaced frames of shards that are not committed, without damaged ones."""
    numbers = dict.fromkeys(shard.number for shard in shards if manifest.entry(shard) is None)
    found = (manifest.entry(Shard(table=FRAMES, number=number)) for number in numbers)
    entries: list[Entry] = [entry for entry in found if entry is not None]
    if not entries:
        return []
    scenes: list[PreparedFrame] = []
    for row in sample(manifest, entries, NUM_FRAMES, GENERATION_COLUMNS):
        try:
            scenes.append(prepare_frame(frame_from_row(row), recipe))
        except DamagedInput:  # will be quarantined
            continue
    return scenes
