"""Planned requests: the variants that a recipe defines, before their frames are prepared."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.datasets.frame import FrameRef
from nightrain.datasets.ids import sample_id, sample_seed
from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.shards.rows import ref_from_row
from nightrain.pipelines.engines.base import Request
from nightrain.pipelines.generate.conditioning import add_conditioning, caption_of
from nightrain.pipelines.generate.prepare import PreparedFrame
from nightrain.pipelines.recipes.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRequest:
    """One variant of one frame to generate: identity, seed and severity, without pixels yet."""

    ref: FrameRef
    row: Row  # the frame's row, not decoded yet
    sample_id: str
    settings_hash: str  # of the recipe's settings for the condition
    variant_index: int
    seed: int
    severity: float
    caption: str = ""  # the clear frame's caption, by the recipe's captioner
    seed_number: int = 0  # more than 0 where gates rejected the variants of earlier seeds
    rejected_seeds: tuple[Mapping[str, object], ...] = ()  # seed, codes and scores of those


def plan_requests(
    rows: Iterable[Row], recipe: Recipe, condition: Condition, captions: Mapping[str, str] | None
) -> Iterator[PlannedRequest]:
    """Yield the requests for rows of frames, in order: frame by frame, index by index.

    `captions` are a network's captions by frame id; None: captions come from the rows.
    """
    severity, settings_hash = recipe.conditions[condition], recipe.hash_of(condition)
    for row in rows:
        ref = ref_from_row(row)
        for index in range(recipe.variants_per_frame):
            seed = sample_seed(ref.frame_id, str(condition), recipe.seed, index)
            draw = np.random.default_rng([seed, 1]).uniform(severity.lowest, severity.highest)
            yield PlannedRequest(
                ref=ref,
                row=row,
                sample_id=sample_id(ref.frame_id, str(condition), settings_hash, index),
                settings_hash=settings_hash,
                variant_index=index,
                seed=seed,
                severity=float(np.float32(draw)),
                caption=caption_of(row, recipe, captions),
            )


def request_for(
    planned: PlannedRequest, prepared: PreparedFrame, condition: Condition, recipe: Recipe
) -> Request:
    """Return the engine's request; raises DamagedInput if a control image cannot be computed."""
    request = Request(
        sample_id=planned.sample_id,
        frame_id=planned.ref.frame_id,
        image=prepared.image,
        depth_m=prepared.depth_m,
        intrinsics=prepared.intrinsics,
        T_ego_camera=prepared.T_ego_camera,
        condition=condition,
        severity=planned.severity,
        seed=planned.seed,
    )
    return add_conditioning(request, planned.caption, recipe, prepared.inverse_depth)
