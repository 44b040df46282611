"""Verdicts of a study: bounds, and whether a one-sided test at 95 % shows that they are met."""

from collections.abc import Sequence
from typing import NamedTuple

from nightrain.depthmodel.evaluation.settings import MEDIAN_DEPTH
from nightrain.pipelines.usefulness.study.arm_result import ArmResult, percent
from nightrain.pipelines.usefulness.study.constant import (
    CONSTANT_METRICS,
    Baselines,
    beats_constant,
    scores_with_constant,
)
from nightrain.pipelines.usefulness.study.scores import StudyScores
from nightrain.pipelines.usefulness.study.statistics import (
    LEVEL,
    FrozenModel,
    estimate,
    p_of_change,
)

MIN_SEEDS = 3  # fewer are not conclusive
CLEAR_DAY = "day-clear"
STUDENTS_RMSE = -0.20  # against the constant's, on clear days


class Bound(NamedTuple):
    """Highest allowed change of a metric of the judged arm in a bucket."""

    bucket: str
    metric: str
    words: str
    highest_change: float


BOUNDS = (
    Bound("night", "abs_rel", "at night", -0.20),
    Bound("day-rain", "abs_rel", "in rain by day", -0.10),
    Bound(CLEAR_DAY, "abs_rel", "on clear days", 0.02),
    Bound(CLEAR_DAY, "rmse", "on clear days", 0.02),
)


class Verdict(FrozenModel):
    """A bound and whether it is met; None where the study is not conclusive."""

    bound: str  # short name: "night abs_rel"
    arm: str
    met: bool | None
    p: float | None = None  # one-sided, of the hypothesis that the bound does not hold
    sentence: str


def judge_all(
    scores: StudyScores, arms: Sequence[ArmResult], judged: str, baselines: Baselines
) -> tuple[Verdict, ...]:
    """Judge every bound: on the judged arm, and on the clear-day error of all students."""
    by_name = {arm.name: arm for arm in arms}
    arm, constant = by_name.get(judged), MEDIAN_DEPTH in baselines
    of_arm = [f"{bound.bucket} {bound.metric}" for bound in BOUNDS]
    of_arm += [f"night {metric} constant" for metric in CONSTANT_METRICS if constant]
    found = [_without(name, judged) for name in of_arm]
    if arm is not None:
        found = [judge(bound, scores, arm, baselines) for bound in BOUNDS]
        found += [_better_than_constant(scores, arm, m) for m in CONSTANT_METRICS if constant]
    return (*found, *([_students_on_clear_days(scores, arms)] if constant else []))


def _without(name: str, judged: str) -> Verdict:
    sentence = f"{name}: not conclusive: this study has no arm {judged}."
    return Verdict(bound=name, arm=judged, met=None, sentence=sentence)


def judge(bound: Bound, scores: StudyScores, arm: ArmResult, baselines: Baselines) -> Verdict:
    """Judge whether an arm meets a bound on its change against its baseline.

    There is no verdict without enough seeds and places, and none where the constant is better than
    the arm in rmse or d1: a gain over a student that is worse than a constant proves nothing.
    """
    baseline = arm.facts.arm.baseline
    name, found = f"{bound.bucket} {bound.metric}", arm.changes.get(bound.bucket, {})
    words = f"{bound.metric} {bound.words} should be {_requirement(bound.highest_change)}"
    start = f"{words} than with the arm {baseline}"
    change = found.get(bound.metric)
    if change is None:
        sentence = f"{start}: not conclusive: no seed has both scores."
        return Verdict(bound=name, arm=arm.name, met=None, sentence=sentence)
    seeds = tuple(change.by_seed)
    ours, theirs = (
        scores.values(a, seeds, bound.bucket, bound.metric) for a in (arm.name, baseline)
    )
    places = scores.places(bound.bucket)
    p = p_of_change(ours, theirs, places, bound.highest_change)
    said = f"{start}: {arm.name} changes it by {percent(change)} ({_counts(seeds, places)}"
    if reason := _not_conclusive(arm, seeds, p):
        sentence = f"{said}); not conclusive: {reason}."
        return Verdict(bound=name, arm=arm.name, met=None, p=p, sentence=sentence)
    if beats_constant(arm, bound.bucket, baselines) is False:
        reason = _no_better_than_constant(arm, bound.bucket, baselines)
        sentence = f"{said}); no verdict: {reason}."
        return Verdict(bound=name, arm=arm.name, met=None, p=p, sentence=sentence)
    assert p is not None
    outcome = _outcome(p, change.mean <= bound.highest_change)
    sentence = f"{said}, {_p_words(p)}); {outcome}."
    return Verdict(bound=name, arm=arm.name, met=p < LEVEL, p=p, sentence=sentence)


def _better_than_constant(scores: StudyScores, arm: ArmResult, metric: str) -> Verdict:
    """Verdict on a score at night against the constant's."""
    seeds, places = tuple(arm.seeds), scores.places("night")
    name, side = f"night {metric} constant", "below" if metric == "rmse" else "above"
    start = f"{metric} at night should be {side} that of a constant median depth"
    if not seeds or not places:
        sentence = f"{start}: not conclusive: {arm.name} has no score."
        return Verdict(bound=name, arm=arm.name, met=None, sentence=sentence)
    ours = scores.values(arm.name, seeds, "night", metric)
    constant = scores.baseline(MEDIAN_DEPTH, "night", metric)
    sign = 1.0 if metric == "rmse" else -1.0
    p = estimate(sign * (ours - constant), places).p_below(0.0)
    mean, other = float(ours.mean()), float(constant.mean())
    said = f"{start}: {arm.name} has {mean:.3f}, the constant {other:.3f} ({_counts(seeds, places)}"
    if reason := _not_conclusive(arm, seeds, p):
        sentence = f"{said}); not conclusive: {reason}."
        return Verdict(bound=name, arm=arm.name, met=None, p=p, sentence=sentence)
    assert p is not None
    sentence = f"{said}, {_p_words(p)}); {_outcome(p, sign * (mean - other) < 0)}."
    return Verdict(bound=name, arm=arm.name, met=p < LEVEL, p=p, sentence=sentence)


def _students_on_clear_days(scores: StudyScores, arms: Sequence[ArmResult]) -> Verdict:
    """Verdict on the clear-day rmse of every student against the constant's: the weakest counts.

    All must pass the test, so no correction for their number is needed (Berger 1982).
    """
    name, places = "students day-clear rmse constant", scores.places(CLEAR_DAY)
    start = (
        f"rmse on clear days of every student should be {_requirement(STUDENTS_RMSE)} than that "
        "of a constant median depth"
    )
    found: list[tuple[float, ArmResult]] = []
    for arm in (arm for arm in arms if arm.seeds and places):
        ours = scores.values(arm.name, arm.seeds, CLEAR_DAY, "rmse")
        constant = scores.baseline(MEDIAN_DEPTH, CLEAR_DAY, "rmse").repeat(len(ours), axis=0)
        p = p_of_change(ours, constant, places, STUDENTS_RMSE)
        if reason := _not_conclusive(arm, arm.seeds, p):
            sentence = f"{start}: not conclusive: {arm.name}: {reason}."
            return Verdict(bound=name, arm=arm.name, met=None, sentence=sentence)
        found.append((p or 0.0, arm))
    if not found:
        sentence = f"{start}: not conclusive: there are no scores."
        return Verdict(bound=name, arm="", met=None, sentence=sentence)
    p, weakest = max(found, key=lambda pair: (pair[0], _against(pair[1])))
    failing = sum(p >= LEVEL for p, _ in found)
    change = weakest.rmse_against_constant[CLEAR_DAY]
    sentence = (
        f"{start}: the weakest, {weakest.name}, changes it by {percent(change)} "
        f"({_counts(weakest.seeds, places)}, {_p_words(p)}); {len(found) - failing} of "
        f"{len(found)} students meet it; {_outcome(p, change.mean <= STUDENTS_RMSE)}."
    )
    return Verdict(bound=name, arm=weakest.name, met=p < LEVEL, p=p, sentence=sentence)


def _against(arm: ArmResult) -> float:
    return arm.rmse_against_constant[CLEAR_DAY].mean


def _not_conclusive(arm: ArmResult, seeds: Sequence[int], p: float | None) -> str:
    """Why scores of these seeds are not conclusive; "" where they are."""
    lacking = sorted({*arm.seeds, *arm.failed, *arm.unfinished} - {*seeds})
    if lacking:
        return f"seeds {', '.join(map(str, lacking))} have no score"
    if len(seeds) < MIN_SEEDS:
        return f"at least {MIN_SEEDS} seeds are needed"
    return "at least 2 places are needed" if p is None else ""


def _outcome(p: float, mean_is_beyond: bool) -> str:
    if p < LEVEL:
        return "met"
    return "not shown at 95 %" if mean_is_beyond else "missed"


def _counts(seeds: Sequence[int], places: Sequence[str]) -> str:
    num_places = len(set(places))
    return (
        f"{len(seeds)} seed{'s' if len(seeds) != 1 else ''}, "
        f"{num_places} place{'s' if num_places != 1 else ''}"
    )


def _p_words(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _requirement(change: float) -> str:
    kind = "at least {:.0%} lower" if change < 0 else "at most {:.0%} higher"
    return kind.format(abs(change)).replace("%", " %")


def _no_better_than_constant(arm: ArmResult, bucket: str, baselines: Baselines) -> str:
    pairs = scores_with_constant(arm, bucket, baselines)
    (rmse_m, constant_rmse_m), (d1, constant_d1) = pairs["rmse"], pairs["d1"]
    return (
        f"the arm does not beat a constant median depth in both rmse ({rmse_m.mean:.2f} m, "
        f"constant {constant_rmse_m:.2f} m) and d1 ({d1.mean:.3f}, constant {constant_d1:.3f})"
    )
