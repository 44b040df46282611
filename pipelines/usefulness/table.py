"""Results of a study as numbers: means over seeds, changes paired by seed, and verdicts.

Arms and seeds that failed or are unfinished are listed without numbers.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.depthmodel.evaluation.results import Evaluation
from nightrain.depthmodel.evaluation.settings import BUCKETS
from nightrain.depthmodel.evaluation.tables import BucketCount, comparison_table
from nightrain.pipelines.usefulness.arm_result import (
    ArmResult,
    FrozenModel,
    SeedStatistic,
    paired_change,
    seed_statistic,
)
from nightrain.pipelines.usefulness.arms import BASELINE
from nightrain.pipelines.usefulness.condition_cost import cost_of_conditions
from nightrain.pipelines.usefulness.plan import ArmFacts, Study
from nightrain.pipelines.usefulness.run_arms import Outcome
from nightrain.pipelines.usefulness.verdict import BOUNDS, Verdict, judge

COLUMNS = tuple(b.name for b in BUCKETS if b.name not in ("night-clear", "all"))
METRICS = ("abs_rel", "rmse", "d1")


class Usefulness(FrozenModel):
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
    scores_of_baselines = {
        name: {b: {m: values[name, b, m] for m in METRICS} for b in buckets} for name in baselines
    }
    return Usefulness(
        command=command,
        study=study,
        cap_m=compared.cap_m,
        buckets=compared.buckets,
        baselines=scores_of_baselines,
        arms=results,
        verdicts=tuple(judge(bound, results, scores_of_baselines) for bound in BOUNDS),
    )


def _costs(
    name: str, evaluations: Mapping[tuple[str, int], Evaluation]
) -> dict[Condition, SeedStatistic]:
    by_seed = {seed: cost_of_conditions(e) for (arm, seed), e in evaluations.items() if arm == name}
    found = {c: seed_statistic({s: v[c] for s, v in by_seed.items() if c in v}) for c in Condition}
    return {condition: value for condition, value in found.items() if value}


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
