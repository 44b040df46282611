"""Comparison with a constant: whether a model is better than a median depth that sees no image.

A gain over a bad student proves little if a constant is better than both.
"""

from collections.abc import Mapping

from nightrain.depthmodel.evaluation.settings import MEDIAN_DEPTH
from nightrain.pipelines.usefulness.arm_result import ArmResult, SeedStatistic

METRICS = ("rmse", "d1")
Baselines = Mapping[str, Mapping[str, Mapping[str, float]]]  # by name, bucket and metric


def scores_with_constant(
    arm: ArmResult, bucket: str, baselines: Baselines
) -> dict[str, tuple[SeedStatistic, float]]:
    """Scores of an arm and of the constant, by metric; empty where one of them has none."""
    constant = baselines.get(MEDIAN_DEPTH, {}).get(bucket, {})
    found = {m: (arm.scores.get(bucket, {}).get(m), constant.get(m)) for m in METRICS}
    pairs = {m: (a, c) for m, (a, c) in found.items() if a is not None and c is not None}
    return pairs if len(pairs) == len(METRICS) else {}


def beats_constant(arm: ArmResult, bucket: str, baselines: Baselines) -> bool | None:
    """Whether the arm's mean rmse is lower and its mean d1 higher; None without scores."""
    pairs = scores_with_constant(arm, bucket, baselines)
    if not pairs:
        return None
    (rmse_m, constant_rmse_m), (d1, constant_d1) = pairs["rmse"], pairs["d1"]
    return rmse_m.mean < constant_rmse_m and d1.mean > constant_d1


def rmse_change(arm: ArmResult, bucket: str, baselines: Baselines) -> SeedStatistic | None:
    """Change of rmse against the constant; 0.1 is 10 % more."""
    pairs = scores_with_constant(arm, bucket, baselines)
    if not pairs:
        return None
    rmse_m, constant_m = pairs["rmse"]
    return SeedStatistic(
        by_seed={seed: value / constant_m - 1 for seed, value in rmse_m.by_seed.items()},
        mean=rmse_m.mean / constant_m - 1,
        std=None if rmse_m.std is None else rmse_m.std / constant_m,
    )
