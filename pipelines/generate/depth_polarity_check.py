"""What is looked at once before a run: does the depth network of a recipe put near things near?

A network that is upside down would fail on every sample, each on its own; here it fails the run.
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

NUM_FRAMES = 8  # judged by their median: a truck beside a side camera hides the road


def require_near_is_white(manifest: Manifest, shards: Sequence[Shard], recipe: Recipe) -> None:
    """Judge the depth network of a recipe on a few of the frames that shards are to be made of.

    Nothing is loaded for depth that is given, nor where every shard is committed. Raises
    WrongPolarity, and InvalidRequest where the network's weights are missing.
    """
    conditioning = recipe.engine.conditioning
    if conditioning is None or not conditioning.shows_depth or conditioning.depth_is_given:
        return
    scenes = _scenes(manifest, shards, recipe)
    if scenes:
        assert_source_is_near_white(load_depth_source(conditioning.control_depth), scenes)


def _scenes(manifest: Manifest, shards: Sequence[Shard], recipe: Recipe) -> list[PreparedFrame]:
    """Evenly spaced frames of what is not committed yet; damaged ones are left out."""
    numbers = dict.fromkeys(shard.number for shard in shards if manifest.entry(shard) is None)
    found = (manifest.entry(Shard(table=FRAMES, number=number)) for number in numbers)
    entries: list[Entry] = [entry for entry in found if entry is not None]
    if not entries:
        return []
    scenes: list[PreparedFrame] = []
    for row in sample(manifest, entries, NUM_FRAMES, GENERATION_COLUMNS):
        try:
            scenes.append(prepare_frame(frame_from_row(row), recipe))
        except DamagedInput:  # its own quarantine row will say so
            continue
    return scenes
