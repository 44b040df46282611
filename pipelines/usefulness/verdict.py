"""Verdicts of a study: bounds on the main arm's change of abs_rel, and whether they are met."""

from collections.abc import Sequence
from typing import NamedTuple

from nightrain.pipelines.usefulness.arm_result import ArmResult, FrozenModel, percent
from nightrain.pipelines.usefulness.arms import BASELINE, MAIN
from nightrain.pipelines.usefulness.constant import (
    Baselines,
    beats_constant,
    scores_with_constant,
)

MIN_SEEDS = 3  # fewer are not conclusive


class Bound(NamedTuple):
    """Highest allowed change of the main arm's abs_rel in a bucket."""

    bucket: str
    words: str
    highest_change: float


BOUNDS = (
    Bound("night", "at night", -0.20),
    Bound("day-rain", "in rain by day", -0.10),
    Bound("day-clear", "on clear days", 0.02),
)


class Verdict(FrozenModel):
    """A bound and whether it is met; None without enough seeds or an arm above a constant."""

    bucket: str
    highest_change: float
    met: bool | None
    sentence: str


def judge(bound: Bound, arms: Sequence[ArmResult], baselines: Baselines) -> Verdict:
    """Judge whether the main arm meets a bound.

    There is no verdict without enough seeds, and none where the constant is better than the main
    arm in rmse or d1: a gain over a student that is worse than a constant proves nothing.
    """
    wanted = _requirement(bound)
    met, found = None, ""
    by_name = {arm.facts.arm.name: arm for arm in arms}
    main, baseline = by_name.get(MAIN), by_name.get(BASELINE)
    change = main.changes.get(bound.bucket) if main else None
    if main is None or baseline is None:
        absent = [name for name in (MAIN, BASELINE) if name not in by_name]
        found = f"not conclusive: this study has no arm {' and no arm '.join(absent)}"
    elif change is None:
        found = "not conclusive: no seed has both scores"
    else:
        every = {*main.seeds, *main.failed, *main.unfinished}
        lacking = sorted(every - set(change.by_seed))
        each = sum(value <= bound.highest_change for value in change.by_seed.values())
        number = len(change.by_seed)
        found = f"the change is {percent(change)} ({number} seed{'s' if number > 1 else ''})"
        if lacking:
            found += f"; not conclusive: seeds {', '.join(map(str, lacking))} have no score"
        elif number < MIN_SEEDS:
            found += f"; not conclusive: at least {MIN_SEEDS} seeds are needed"
        elif beats_constant(main, bound.bucket, baselines) is False:
            found += f"; no verdict: {_no_better_than_constant(main, bound.bucket, baselines)}"
        else:
            met = change.mean <= bound.highest_change
            found += f"; {'met' if met else 'missed'} ({each} of {len(every)} seeds on their own)"
    sentence = f"abs_rel {bound.words} should be {wanted} than with clear frames only: {found}."
    return Verdict(
        bucket=bound.bucket, highest_change=bound.highest_change, met=met, sentence=sentence
    )


def _requirement(bound: Bound) -> str:
    limit = abs(bound.highest_change)
    kind = "at least {:.0%} lower" if bound.highest_change < 0 else "at most {:.0%} higher"
    return kind.format(limit).replace("%", " %")


def _no_better_than_constant(arm: ArmResult, bucket: str, baselines: Baselines) -> str:
    pairs = scores_with_constant(arm, bucket, baselines)
    (rmse_m, constant_rmse_m), (d1, constant_d1) = pairs["rmse"], pairs["d1"]
    return (
        f"the arm does not beat a constant median depth in both rmse ({rmse_m.mean:.2f} m, "
        f"constant {constant_rmse_m:.2f} m) and d1 ({d1.mean:.3f}, constant {constant_d1:.3f})"
    )
