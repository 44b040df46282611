"""Results of a study as numbers: means over seeds, changes paired by seed, and verdicts.

A change is (arm - baseline) / baseline of the same seed, so that effects of the seed on both
cancel. Arms and seeds that failed or are unfinished are listed without numbers.
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
from nightrain.pipelines.usefulness.run_arms import Outcome

COLUMNS = tuple(b.name for b in BUCKETS if b.name not in ("night-clear", "all"))
METRICS = ("abs_rel", "rmse", "d1")
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


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SeedStatistic(_Frozen):
    """A value by seed, its mean and its sample standard deviation, None for a single seed."""

    by_seed: dict[int, float]
    mean: float
    std: float | None


class ArmResult(_Frozen):
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


class Verdict(_Frozen):
    """A bound and whether it is met; None where the seeds are not conclusive."""

    bucket: str
    highest_change: float
    met: bool | None
    sentence: str


class Usefulness(_Frozen):
    """Results of a study so far."""

    command: str
    study: Study
    cap_m: float
    buckets: tuple[BucketCount, ...]  # buckets of the test frames
    baselines: dict[str, dict[str, dict[str, float]]]  # by name, bucket and metric
    arms: tuple[ArmResult, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def summary(self) -> str:
        """The number of bounds that are met, in a sentence."""
        met = [v for v in self.verdicts if v.met]
        if len(met) == len(self.verdicts):
            return f"All {len(met)} bounds are met."
        missed = [v.bucket for v in self.verdicts if v.met is False]
        unknown = [v.bucket for v in self.verdicts if v.met is None]
        parts = [f"missed: {', '.join(missed)}"] if missed else []
        parts += [f"not conclusive: {', '.join(unknown)}"] if unknown else []
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
    """Combine the outcomes and evaluations of runs, by (arm, seed), into the results so far.

    `seeds` are the job's; runs of other seeds are included. Raises InvalidRequest for evaluations
    of different frames or settings.
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
                    b: {
                        m: s for m in METRICS if (s := seed_statistic(scores(facts.arm.name, b, m)))
                    }
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
    found = {c: seed_statistic({s: v[c] for s, v in by_seed.items() if c in v}) for c in Condition}
    return {condition: value for condition, value in found.items() if value}


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
    """The state of an arm's seeds, without scores."""
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


def percent(change: SeedStatistic) -> str:
    """Format a relative change in per cent with its standard deviation."""
    std = "" if change.std is None else f" ± {100 * change.std:.1f}"
    return f"{100 * change.mean:+.1f}{std} %"
