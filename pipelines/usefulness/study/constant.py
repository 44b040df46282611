"""Comparison with a constant: whether a model is better than a median depth that sees no image.

A gain over a bad student proves little if a constant is better than both.
"""

from collections.abc import Mapping

from nightrain.depthmodel.evaluation.settings import MEDIAN_DEPTH
from nightrain.pipelines.usefulness.study.arm_result import ArmResult, SeedStatistic
from nightrain.pipelines.usefulness.study.statistics import MeanEstimate

CONSTANT_METRICS = ("rmse", "d1")
Baselines = Mapping[str, Mapping[str, Mapping[str, MeanEstimate]]]  # by name, bucket and metric


def scores_with_constant(
    arm: ArmResult, bucket: str, baselines: Baselines
) -> dict[str, tuple[SeedStatistic, float]]:
    """Scores of an arm and of the constant, by metric; empty where one of them has none."""
    constant = baselines.get(MEDIAN_DEPTH, {}).get(bucket, {})
    ours = arm.scores.get(bucket, {})
    if any(m not in ours or m not in constant for m in CONSTANT_METRICS):
        return {}
    return {m: (ours[m], constant[m].mean) for m in CONSTANT_METRICS}


def beats_constant(arm: ArmResult, bucket: str, baselines: Baselines) -> bool | None:
    """Whether the arm's mean rmse is lower and its mean d1 higher; None without scores."""
    pairs = scores_with_constant(arm, bucket, baselines)
    if not pairs:
        return None
    (rmse_m, constant_rmse_m), (d1, constant_d1) = pairs["rmse"], pairs["d1"]
    return rmse_m.mean < constant_rmse_m and d1.mean > constant_d1
