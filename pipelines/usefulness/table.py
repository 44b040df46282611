"""The result of a study as numbers: means over seeds, changes paired by seed, and the bounds.

A change is (arm - clear) / clear of the same seed, so that what a seed does to both cancels. An arm
or seed that failed or was not finished has a place here and no number.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from nightrain.datasets.conditions import Condition
from nightrain.depthmodel.evaluation.results import Evaluation
from nightrain.depthmodel.evaluation.settings import BUCKETS
from nightrain.depthmodel.evaluation.tables import BucketCount, comparison_table
from nightrain.pipelines.usefulness.arms import BASELINE, MAIN
from nightrain.pipelines.usefulness.condition_cost import cost_of_conditions
from nightrain.pipelines.usefulness.plan import ArmFacts, Study
from nightrain.pipelines.usefulness.work import Outcome

COLUMNS = tuple(b.name for b in BUCKETS if b.name not in ("night-clear", "all"))
METRICS = ("abs_rel", "rmse", "d1")
MIN_SEEDS = 3  # fewer decide nothing


class Bound(NamedTuple):
    """The abs_rel of the main arm in a bucket may change by so much at most."""

    bucket: str
    words: str
    highest_change: float


BOUNDS = (
    Bound("night", "at night", -0.20),
    Bound("day-rain", "in rain by day", -0.10),
    Bound("day-clear", "on clear days", 0.02),
)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SeedStatistic(_Frozen):
    """A number by seed, its mean, and its sample standard deviation: None of one seed."""

    by_seed: dict[int, float]
    mean: float
    std: float | None


class ArmResult(_Frozen):
    """An arm with all its seeds: those with numbers, those that failed, those not finished."""

    facts: ArmFacts
    seeds: tuple[int, ...]
    failed: dict[int, str]  # the error, by seed
    unfinished: tuple[int, ...]
    seconds: float | None  # of training one seed, mean
    scores: dict[str, dict[str, SeedStatistic]]  # by bucket and metric
    changes: dict[
        str, SeedStatistic
    ]  # of abs_rel against the baseline, by bucket; 0.1 is 10 % more
    # of abs_rel against a clear day at the same places, by condition; see same_places.py
    costs: dict[Condition, SeedStatistic] = {}


class Verdict(_Frozen):
    """A bound, and whether it is met: None where that cannot be said."""

    bucket: str
    highest_change: float
    met: bool | None
    sentence: str


class Usefulness(_Frozen):
    """What a study has found so far."""

    command: str
    study: Study
    cap_m: float
    buckets: tuple[BucketCount, ...]  # of the test
    baselines: dict[str, dict[str, dict[str, float]]]  # by name, bucket and metric
    arms: tuple[ArmResult, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def summary(self) -> str:
        """Whether the bounds are met, in a sentence."""
        met = [v for v in self.verdicts if v.met]
        if len(met) == len(self.verdicts):
            return f"All {len(met)} bounds are met."
        missed = [v.bucket for v in self.verdicts if v.met is False]
        unknown = [v.bucket for v in self.verdicts if v.met is None]
        parts = [f"missed: {', '.join(missed)}"] if missed else []
        parts += [f"not decided: {', '.join(unknown)}"] if unknown else []
        return f"{len(met)} of {len(self.verdicts)} bounds are met; {'; '.join(parts)}."


def usefulness_table(
    study: Study,
    arms: Sequence[ArmFacts],
    seeds: Sequence[int],
    outcomes: Mapping[tuple[str, int], Outcome],
    evaluations: Mapping[tuple[str, int], Evaluation],
    baselines: Mapping[str, Evaluation],
    command: str = "",
) -> Usefulness:
    """Put together what runs, by arm and seed, have given so far.

    `seeds` were asked for; runs of others are shown as well. Raises InvalidRequest where
    evaluations are not of the same frames with the same settings.
    """
    groups = {f"{name} seed {seed}": [e] for (name, seed), e in evaluations.items()}
    groups |= {name: [e] for name, e in baselines.items()}
    compared = comparison_table(groups, metrics=METRICS, buckets=COLUMNS)
    buckets = [count.bucket for count in compared.buckets if count.num_images]
    values = {(c.arm, c.bucket, c.metric): c.mean for c in compared.cells}
    found = _arm_seeds(arms, seeds, outcomes, evaluations)

    def scores(name: str, bucket: str, metric: str) -> dict[int, float]:
        return {
            seed: values[f"{name} seed {seed}", bucket, metric]
            for seed in found.get(name, ())
            if (name, seed) in evaluations
        }

    results = tuple(
        _arm_result(facts, found[facts.arm.name], outcomes, evaluations).model_copy(
            update={
                "scores": {
                    b: {m: s for m in METRICS if (s := spread(scores(facts.arm.name, b, m)))}
                    for b in buckets
                },
                "changes": {
                    b: change
                    for b in buckets
                    if facts.arm.name != BASELINE
                    and (
                        change := paired_change(
                            scores(facts.arm.name, b, "abs_rel"), scores(BASELINE, b, "abs_rel")
                        )
                    )
                },
                "costs": _costs(facts.arm.name, evaluations),
            }
        )
        for facts in arms
    )
    return Usefulness(
        command=command,
        study=study,
        cap_m=compared.cap_m,
        buckets=compared.buckets,
        baselines={
            name: {b: {m: values[name, b, m] for m in METRICS} for b in buckets}
            for name in baselines
        },
        arms=results,
        verdicts=tuple(_verdict(bound, results) for bound in BOUNDS),
    )


def _costs(
    name: str, evaluations: Mapping[tuple[str, int], Evaluation]
) -> dict[Condition, SeedStatistic]:
    by_seed = {seed: cost_of_conditions(e) for (arm, seed), e in evaluations.items() if arm == name}
    found = {c: spread({s: v[c] for s, v in by_seed.items() if c in v}) for c in Condition}
    return {condition: value for condition, value in found.items() if value}


def spread(by_seed: Mapping[int, float]) -> SeedStatistic | None:
    """Mean and sample standard deviation over seeds; None of nothing."""
    if not by_seed:
        return None
    values = np.array(list(by_seed.values()))
    std = float(values.std(ddof=1)) if len(values) > 1 else None
    return SeedStatistic(by_seed=dict(by_seed), mean=float(values.mean()), std=std)


def paired_change(arm: Mapping[int, float], baseline: Mapping[int, float]) -> SeedStatistic | None:
    """(arm - baseline) / baseline of the seeds that both have; None where there is no such."""
    return spread({s: arm[s] / baseline[s] - 1.0 for s in arm if s in baseline})


def _arm_seeds(
    arms: Sequence[ArmFacts],
    seeds: Sequence[int],
    outcomes: Mapping[tuple[str, int], Outcome],
    evaluations: Mapping[tuple[str, int], Evaluation],
) -> dict[str, tuple[int, ...]]:
    ran = {*outcomes, *evaluations}
    return {
        f.arm.name: tuple(sorted({*seeds, *(seed for name, seed in ran if name == f.arm.name)}))
        for f in arms
    }


def _arm_result(
    facts: ArmFacts,
    seeds: tuple[int, ...],
    outcomes: Mapping[tuple[str, int], Outcome],
    evaluations: Mapping[tuple[str, int], Evaluation],
) -> ArmResult:
    """An arm without its scores: what became of each seed."""
    name = facts.arm.name
    ended = {seed: o for seed in seeds if (o := outcomes.get((name, seed))) is not None}
    failed = {seed: o.error for seed, o in ended.items() if o.status == "failed"}
    done = tuple(seed for seed in seeds if (name, seed) in evaluations)
    seconds = [ended[seed].seconds for seed in done if seed in ended]
    return ArmResult(
        facts=facts,
        seeds=done,
        failed=failed,
        unfinished=tuple(seed for seed in seeds if seed not in done and seed not in failed),
        seconds=float(np.mean(seconds)) if seconds else None,
        scores={},
        changes={},
    )


def _verdict(bound: Bound, arms: Sequence[ArmResult]) -> Verdict:
    wanted = _wanted(bound)
    met, found = None, ""
    by_name = {arm.facts.arm.name: arm for arm in arms}
    main, baseline = by_name.get(MAIN), by_name.get(BASELINE)
    change = main.changes.get(bound.bucket) if main else None
    if main is None or baseline is None:
        absent = [name for name in (MAIN, BASELINE) if name not in by_name]
        found = f"not decided, because this study has no arm {' and no arm '.join(absent)}"
    elif change is None:
        found = "not decided, because no seed has both numbers"
    else:
        every = {*main.seeds, *main.failed, *main.unfinished}
        lacking = sorted(every - set(change.by_seed))
        each = sum(value <= bound.highest_change for value in change.by_seed.values())
        number = len(change.by_seed)
        found = f"it changes by {percent(change)} ({number} seed{'s' if number > 1 else ''})"
        if lacking:
            found += f": not decided, because seeds {', '.join(map(str, lacking))} have no number"
        elif number < MIN_SEEDS:
            found += f": not decided, because {MIN_SEEDS} seeds are wanted"
        else:
            met = change.mean <= bound.highest_change
            found += f": {'met' if met else 'missed'} ({each} of {len(every)} seeds alone)"
    sentence = f"abs_rel {bound.words} {wanted} than with clear frames only: {found}."
    return Verdict(
        bucket=bound.bucket, highest_change=bound.highest_change, met=met, sentence=sentence
    )


def _wanted(bound: Bound) -> str:
    limit = abs(bound.highest_change)
    kind = "at least {:.0%} lower" if bound.highest_change < 0 else "at most {:.0%} higher"
    return kind.format(limit).replace("%", " %")


def percent(change: SeedStatistic) -> str:
    """A relative change in per cent, with its standard deviation."""
    std = "" if change.std is None else f" ± {100 * change.std:.1f}"
    return f"{100 * change.mean:+.1f}{std} %"
