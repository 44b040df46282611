"""Results of an arm over its seeds, and changes against another arm, paired by seed.

A change is (arm - baseline) / baseline of the same seed, so that effects of the seed on both
cancel.
"""

from collections.abc import Mapping

import numpy as np
from pydantic import BaseModel, ConfigDict

from nightrain.datasets.conditions import Condition
from nightrain.pipelines.usefulness.plan import ArmFacts


class FrozenModel(BaseModel):
    """Model whose values do not change."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SeedStatistic(FrozenModel):
    """A value by seed, its mean and its sample standard deviation, None for a single seed."""

    by_seed: dict[int, float]
    mean: float
    std: float | None


class ArmResult(FrozenModel):
    """Results of an arm: seeds with scores, seeds that failed, and unfinished seeds."""

    facts: ArmFacts
    seeds: tuple[int, ...]
    failed: dict[int, str]  # the error, by seed
    unfinished: tuple[int, ...]
    seconds: float | None  # of training one seed, mean
    scores: dict[str, dict[str, SeedStatistic]]  # by bucket and metric
    changes: dict[str, SeedStatistic]  # of abs_rel, by bucket; 0.1 is 10 % more
    # By condition: increase of abs_rel over clear days at the same places (condition_cost.py).
    costs: dict[Condition, SeedStatistic] = {}


def seed_statistic(by_seed: Mapping[int, float]) -> SeedStatistic | None:
    """Mean and sample standard deviation over seeds; None without a seed."""
    if not by_seed:
        return None
    values = np.array(list(by_seed.values()))
    std = float(values.std(ddof=1)) if len(values) > 1 else None
    return SeedStatistic(by_seed=dict(by_seed), mean=float(values.mean()), std=std)


def paired_change(arm: Mapping[int, float], baseline: Mapping[int, float]) -> SeedStatistic | None:
    """(arm - baseline) / baseline of each seed that both have; None where they share no seed."""
    return seed_statistic({s: arm[s] / baseline[s] - 1.0 for s in arm if s in baseline})


def percent(change: SeedStatistic) -> str:
    """Format a relative change in per cent with its standard deviation."""
    std = "" if change.std is None else f" ± {100 * change.std:.1f}"
    return f"{100 * change.mean:+.1f}{std} %"
