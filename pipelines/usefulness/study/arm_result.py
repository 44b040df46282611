"""Results of an arm over its seeds: scores, and changes against its baseline, paired by seed.

A change is (arm - baseline) / baseline of the same seed, so that effects of the seed on both
cancel.
"""

import numpy as np
from pydantic import Field

from nightrain.datasets.conditions import Condition
from nightrain.depthmodel.evaluation.settings import MEDIAN_DEPTH
from nightrain.pipelines.usefulness.arms import TRUE, TRUE_EXACT
from nightrain.pipelines.usefulness.records import ArmFacts
from nightrain.pipelines.usefulness.study.scores import METRICS, StudyScores
from nightrain.pipelines.usefulness.study.statistics import (
    FrozenModel,
    MeanEstimate,
    change,
    estimate,
    gap_closed,
)

NumberBySeed = dict[int, float]


class SeedStatistic(FrozenModel):
    """A value by seed, its mean, its standard deviation over seeds, and its standard error.

    The standard error is over places and seeds; None for a single place.
    """

    by_seed: NumberBySeed
    mean: float
    std: float | None = None  # None for a single seed
    standard_error: float | None = None


class ArmResult(FrozenModel):
    """Results of an arm: seeds with scores, seeds that failed, and unfinished seeds."""

    facts: ArmFacts
    seeds: tuple[int, ...]
    failed: dict[int, str]  # the error, by seed
    unfinished: tuple[int, ...]
    seconds: float | None  # of training one seed, mean
    scores: dict[str, dict[str, SeedStatistic]] = Field(
        default_factory=dict
    )  # by bucket and metric
    # Against the arm's baseline, by bucket and metric; 0.1 is 10 % more.
    changes: dict[str, dict[str, SeedStatistic]] = Field(default_factory=dict)
    rmse_against_constant: dict[str, SeedStatistic] = Field(
        default_factory=dict
    )  # change, by bucket
    # Share of the gap from clear frames to recorded twins, in abs_rel: by arm of twins and bucket.
    gaps: dict[str, dict[str, MeanEstimate]] = Field(default_factory=dict)
    # By condition: increase of abs_rel over clear days at the same places (condition_cost.py).
    costs: dict[Condition, SeedStatistic] = Field(default_factory=dict)
    stability: dict[str, SeedStatistic] = Field(
        default_factory=dict
    )  # mean_dv and max_piv (stability.py)

    @property
    def name(self) -> str:
        """Name of the arm."""
        return self.facts.arm.name


def seed_statistic(
    by_seed: NumberBySeed, found: MeanEstimate | None = None
) -> SeedStatistic | None:
    """Statistic of a value over seeds, with the standard error of an estimate; None without one."""
    if not by_seed:
        return None
    values = np.array(list(by_seed.values()))
    return SeedStatistic(
        by_seed=by_seed,
        mean=float(values.mean()),
        std=float(values.std(ddof=1)) if len(values) > 1 else None,
        standard_error=None if found is None else found.standard_error,
    )


def with_scores(result: ArmResult, scores: StudyScores, buckets: list[str]) -> ArmResult:
    """The result with scores, changes and closed gaps in these buckets."""
    arm, baseline = result.name, result.facts.arm.baseline
    paired = scores.seeds(arm, baseline) if arm != baseline else ()
    constant = MEDIAN_DEPTH in scores.baselines
    return result.model_copy(
        update={
            "scores": {b: _scores(scores, arm, b) for b in buckets if result.seeds},
            "changes": {b: _changes(scores, arm, baseline, paired, b) for b in buckets if paired},
            "rmse_against_constant": {
                b: _against_constant(scores, arm, b) for b in buckets if result.seeds and constant
            },
            "gaps": {
                true: _gaps(scores, arm, baseline, true, buckets)
                for true in (TRUE, TRUE_EXACT)
                if arm not in (true, baseline) and scores.seeds(arm, baseline, true)
            },
        }
    )


def _scores(scores: StudyScores, arm: str, bucket: str) -> dict[str, SeedStatistic]:
    seeds, places, found = scores.seeds(arm), scores.places(bucket), {}
    for metric in METRICS:
        values = scores.values(arm, seeds, bucket, metric)
        by_seed = dict(zip(seeds, values.mean(axis=1).tolist(), strict=True))
        found[metric] = seed_statistic(by_seed, estimate(values, places))
    return {metric: statistic for metric, statistic in found.items() if statistic}


def _changes(
    scores: StudyScores, arm: str, baseline: str, seeds: tuple[int, ...], bucket: str
) -> dict[str, SeedStatistic]:
    places, found = scores.places(bucket), {}
    for metric in METRICS:
        ours, theirs = (scores.values(one, seeds, bucket, metric) for one in (arm, baseline))
        found[metric] = _change(seeds, ours, theirs, places)
    return found


def _against_constant(scores: StudyScores, arm: str, bucket: str) -> SeedStatistic:
    seeds = scores.seeds(arm)
    ours = scores.values(arm, seeds, bucket, "rmse")
    constant = scores.baseline(MEDIAN_DEPTH, bucket, "rmse")
    return _change(seeds, ours, np.repeat(constant, len(seeds), axis=0), scores.places(bucket))


def _change(
    seeds: tuple[int, ...], ours: np.ndarray, theirs: np.ndarray, places: list[str]
) -> SeedStatistic:
    ratios = (ours.mean(axis=1) / theirs.mean(axis=1) - 1.0).tolist()
    found = seed_statistic(dict(zip(seeds, ratios, strict=True)), change(ours, theirs, places))
    assert found is not None
    return found


def _gaps(
    scores: StudyScores, arm: str, baseline: str, true: str, buckets: list[str]
) -> dict[str, MeanEstimate]:
    seeds = scores.seeds(arm, baseline, true)
    found = {}
    for bucket in buckets:
        ours, clear, twins = (
            scores.values(one, seeds, bucket, "abs_rel") for one in (arm, baseline, true)
        )
        found[bucket] = gap_closed(ours, clear, twins, scores.places(bucket))
    return {bucket: share for bucket, share in found.items() if share is not None}


def percent(value: SeedStatistic | MeanEstimate) -> str:
    """Format a relative change in per cent with its standard error."""
    error = value.standard_error
    return f"{100 * value.mean:+.1f}{'' if error is None else f' ± {100 * error:.1f}'} %"
