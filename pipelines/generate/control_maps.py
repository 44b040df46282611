"""Control maps of a recipe: made once per frame, before the recipe's variants or by themselves.

Before the first map is committed, a few frames tell whether the network shows near as white.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import Field

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import DamagedInput, InvalidRequest
from nightrain.datasets.io.images import decode_jpeg
from nightrain.datasets.shards.manifest import FRAMES, Entry, Manifest, Shard
from nightrain.datasets.shards.transaction import OnRows, ignore_rows
from nightrain.datasets.validation import Settings
from nightrain.pipelines.controls.depth_source import RelativeDepth
from nightrain.pipelines.controls.load_source import load_depth_source
from nightrain.pipelines.controls.map_shard import (
    ControlMapShard,
    control_maps_table,
    depth_of_each,
    forget_held,
    frame_columns,
    hold,
    lidar_of,
)
from nightrain.pipelines.controls.polarity import near_is_white_lead, require_near_is_white
from nightrain.pipelines.controls.settings import ControlDepth
from nightrain.pipelines.inspect.stats import sample
from nightrain.pipelines.recipes.recipe import Recipe
from nightrain.pipelines.recipes.recipe_file import read_recipe, recipe_choices
from nightrain.pipelines.runs import stop as stopping
from nightrain.pipelines.runs.device_lock import sole_use
from nightrain.pipelines.runs.devices import gpu_id, visible_devices
from nightrain.pipelines.runs.executors import Executor, check_once
from nightrain.pipelines.runs.one_run import IfRunning, one_run_at_a_time
from nightrain.pipelines.runs.quarantine import MAX_QUARANTINED, MaxQuarantined, check_quarantine
from nightrain.pipelines.runs.run import RunReport, run
from nightrain.pipelines.runs.selection import select_frames, shards_behind
from nightrain.pipelines.runs.stop import Stop

NUM_FRAMES = 8  # the median decides, because a truck next to a side camera can hide the road


class ControlJob(Settings):
    """Options of `nightrain controls` and parameters of the flow `make-control-maps`."""

    dataset: Path = Field(
        description="Dataset folder with committed frames",
        json_schema_extra={"cli": "argument", "must_exist": True},
    )
    recipe: str = Field(
        default="gdt-nuscenes",
        description="Recipe with the depth network: built-in, or a YAML file",
        json_schema_extra=recipe_choices,
    )
    include_evaluation_scenes: bool = Field(
        default=False, description="Also make maps of val and test scenes"
    )
    max_quarantined: MaxQuarantined = MAX_QUARANTINED
    if_running: IfRunning = "share"

    @property
    def title(self) -> str:
        """What the job makes, for lists of runs: "control maps of nuscenes"."""
        return f"control maps of {self.dataset.name}"

    @property
    def tags(self) -> tuple[str, ...]:
        """Words to find the job's runs by: the recipe."""
        return (self.recipe,)

    def devices(self) -> tuple[str, ...]:
        """Return the GPUs, one worker process for each."""
        return visible_devices()

    def plan(self) -> dict[Shard, int]:
        """Plan the job's shards, committed or not, and the number of maps of each.

        Raises InvalidRequest for a recipe without a depth network.
        """
        manifest, recipe = Manifest(self.dataset), read_recipe(self.recipe)
        if recipe.mapped_depth is None:
            raise InvalidRequest(
                f"Recipe {recipe.name!r} has no depth network, so it needs no control maps. Give "
                "one with `control_depth: {source: midas}`, or with `depth: network`."
            )
        selection = select_frames(
            manifest,
            (Condition.CLEAR,),
            product="control maps",
            include_evaluation_scenes=self.include_evaluation_scenes,
        )
        return plan_maps(selection.kept, recipe.mapped_depth)


@one_run_at_a_time
def controls(
    job: ControlJob,
    *,
    executor: Executor,
    stop: Stop,
    on_planned: OnRows = ignore_rows,
    on_rows: OnRows = ignore_rows,
) -> RunReport:
    """Make the control maps of a job that are still missing.

    Raises InvalidRequest, DiskFull, and WrongPolarity for a network of inverted polarity.
    """
    num_rows, settings = job.plan(), read_recipe(job.recipe).mapped_depth
    if settings is None:
        raise AssertionError("the plan raises for such a recipe")
    report = _make(
        job.dataset,
        num_rows,
        settings,
        executor=executor,
        stop=stop,
        on_planned=on_planned,
        on_rows=on_rows,
    )
    check_quarantine(report, Manifest(job.dataset), tuple(num_rows), job.max_quarantined)
    return report


def make_maps_of_recipe(
    manifest: Manifest,
    recipe: Recipe,
    variants: Sequence[Shard],
    *,
    executor: Executor,
    stop: Stop,
) -> RunReport:
    """Make the missing control maps of the frames of shards of variants that are not committed.

    Does nothing for a recipe without a depth network. Raises like `controls`.
    """
    if recipe.mapped_depth is None:
        return RunReport()
    missing = dict.fromkeys(s.number for s in variants if manifest.entry(s) is None)
    found = manifest.committed(Shard(table=FRAMES, number=number) for number in missing)
    num_rows = plan_maps(found, recipe.mapped_depth)
    if all(manifest.entry(shard) for shard in num_rows):
        return RunReport()
    return _make(manifest.root, num_rows, recipe.mapped_depth, executor=executor, stop=stop)


def plan_maps(frames: Sequence[Entry], settings: ControlDepth) -> dict[Shard, int]:
    """Plan one shard of maps per frames shard that has rows; raises InvalidRequest."""
    return shards_behind(frames, control_maps_table(settings))


def _make(
    root: Path,
    num_rows: dict[Shard, int],
    settings: ControlDepth,
    *,
    executor: Executor,
    stop: Stop,
    on_planned: OnRows = ignore_rows,
    on_rows: OnRows = ignore_rows,
) -> RunReport:
    try:
        _check_source(root, tuple(num_rows), settings, executor)
        return run(
            root,
            tuple(num_rows),
            ControlMapShard(root, settings),
            executor=executor,
            stop=stop,
            num_rows=num_rows,
            on_planned=on_planned,
            on_rows=on_rows,
        )
    finally:
        forget_held()


def _check_source(
    root: Path, shards: Sequence[Shard], settings: ControlDepth, executor: Executor
) -> None:
    """Check a network before its first map is committed, where its shards are made.

    A network of inverted polarity would fail on every frame, one by one. Raises WrongPolarity,
    InvalidRequest if the network cannot be loaded, RunFailure if it fails on every frame.
    """
    manifest = Manifest(root)
    committed = {entry.shard.name for entry in manifest.committed(shards)}
    if missing := tuple(shard for shard in shards if shard.name not in committed):
        check_once(executor, partial(_require_near_is_white, root, missing, settings))


def _require_near_is_white(root: Path, shards: Sequence[Shard], settings: ControlDepth) -> None:
    """Test a network on a few frames of shards of maps, with the GPU locked.

    The maps are held for their shards, if these are made in the same process.
    """
    manifest = Manifest(root)
    frames = manifest.committed(s.model_copy(update={"table": FRAMES}) for s in shards)
    images: dict[str, np.ndarray] = {}
    lidar_m: list[np.ndarray | None] = []
    columns = frame_columns(settings)
    for row in sample(manifest, frames, NUM_FRAMES, columns) if frames else ():
        with suppress(DamagedInput):  # will be quarantined
            image, lidar = decode_jpeg(row["image"]["bytes"]), lidar_of(row)
            images[row["frame_id"]] = image
            lidar_m.append(lidar)
    with sole_use(gpu_id(), lambda: stopping.current().interrupted) as is_held:
        if not is_held or not images:
            return  # the run will report that it was stopped
        source = load_depth_source(settings)
        outcomes = zip(images, depth_of_each(source, list(images.values()), lidar_m), strict=True)
    found = {name: one for name, one in outcomes if isinstance(one, RelativeDepth)}
    if found:
        leads = [near_is_white_lead(one.inverse_depth) for one in found.values()]
        require_near_is_white(source.name, leads)
    for frame_id, one in found.items():
        hold(settings, frame_id, one)
