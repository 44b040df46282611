"""The variants to make of frames' rows, and what an engine is asked for each."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.frame import FrameRef
from nightrain.datasets.ids import sample_id, sample_seed
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.shards.rows import ref_from_row
from nightrain.pipelines.engines.base import Request
from nightrain.pipelines.generate.conditioning import caption_of, prompted
from nightrain.pipelines.generate.prepare import PreparedFrame
from nightrain.pipelines.recipes.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One variant to make of one frame."""

    ref: FrameRef
    row: Row  # the frame's row, not decoded yet
    sample_id: str
    variant_index: int
    seed: int
    severity: float
    caption: str = ""  # what the clear frame shows, in the captioner's words


def plan_tasks(
    rows: Iterable[Row], recipe: Recipe, condition: Condition, captions: Mapping[str, str] | None
) -> Iterator[Task]:
    """The variants to make of frames' rows, in order: frame by frame, index by index.

    `captions` by frame id are those of a captioner with weights; None: captions from the rows.
    """
    severity = recipe.conditions[condition]
    for row in rows:
        ref = ref_from_row(row)
        for index in range(recipe.variants_per_frame):
            name = (ref.frame_id, str(condition), recipe.hash, index)
            seed = sample_seed(*name)
            draw = np.random.default_rng([seed, 1]).uniform(severity.lowest, severity.highest)
            yield Task(
                ref=ref,
                row=row,
                sample_id=sample_id(*name),
                variant_index=index,
                seed=seed,
                severity=float(np.float32(draw)),
                caption=caption_of(row, recipe, captions),
            )


def request_for(
    task: Task, prepared: PreparedFrame, condition: Condition, recipe: Recipe
) -> Request:
    """What an engine is asked for one task; raises DamagedInput where no control can be made."""
    request = Request(
        sample_id=task.sample_id,
        image=prepared.image,
        depth_m=prepared.depth_m,
        intrinsics=prepared.intrinsics,
        T_ego_camera=prepared.T_ego_camera,
        condition=condition,
        severity=task.severity,
        seed=task.seed,
    )
    return prompted(request, task.caption, recipe)
