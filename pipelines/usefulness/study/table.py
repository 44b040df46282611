"""Results of a study as numbers: means, changes paired by seed, selection and verdicts.

Arms and seeds that failed or are unfinished are listed without numbers.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.depthmodel.evaluation.results import Evaluation
from nightrain.depthmodel.evaluation.tables import BucketCount, comparison_table
from nightrain.pipelines.usefulness.records import ArmFacts, Study
from nightrain.pipelines.usefulness.run_arms import Outcome
from nightrain.pipelines.usefulness.stability import Stability
from nightrain.pipelines.usefulness.study.arm_result import (
    ArmResult,
    SeedStatistic,
    seed_statistic,
    with_scores,
)
from nightrain.pipelines.usefulness.study.arm_selection import ArmSelection, select_arm
from nightrain.pipelines.usefulness.study.condition_cost import cost_of_conditions
from nightrain.pipelines.usefulness.study.scores import COLUMNS, METRICS, Runs, StudyScores
from nightrain.pipelines.usefulness.study.statistics import FrozenModel, MeanEstimate, estimate
from nightrain.pipelines.usefulness.study.verdict import Verdict, judge_all


class Usefulness(FrozenModel):
    """Results of a study so far."""

    command: str
    study: Study
    cap_m: float
    buckets: tuple[BucketCount, ...]  # buckets of the reported frames
    baselines: dict[str, dict[str, dict[str, MeanEstimate]]]  # by name, bucket and metric
    arms: tuple[ArmResult, ...]
    selection: ArmSelection
    verdicts: tuple[Verdict, ...]
    left_out: tuple[str, ...] = ()  # arms that the dataset cannot train, and why

    @property
    def summary(self) -> str:
        """The number of bounds that are met, in a sentence."""
        met = [v for v in self.verdicts if v.met]
        if len(met) == len(self.verdicts):
            return f"All {len(met)} bounds are met."
        missed = [v.bound for v in self.verdicts if v.met is False]
        unknown = [v.bound for v in self.verdicts if v.met is None]
        parts = [f"missed or not shown: {', '.join(missed)}"] if missed else []
        parts += [f"not conclusive: {', '.join(unknown)}"] if unknown else []
        return f"{len(met)} of {len(self.verdicts)} bounds are met; {'; '.join(parts)}."


def usefulness_table(
    study: Study,
    arms: Sequence[ArmFacts],
    seeds: Sequence[int],
    outcomes: Mapping[tuple[str, int], Outcome],
    evaluations: Runs,
    baselines: Mapping[str, Evaluation],
    command: str = "",
    *,
    selecting: Runs | None = None,
    stabilities: Mapping[tuple[str, int], Stability] | None = None,
    left_out: tuple[str, ...] = (),
) -> Usefulness:
    """Combine the outcomes and evaluations of runs, by (arm, seed), into the results so far.

    `seeds` are the job's; runs of other seeds are included. `selecting` are the evaluations on the
    split that selects. Raises InvalidRequest for evaluations of different frames or settings.
    """
    groups = {f"{name} seed {seed}": [e] for (name, seed), e in evaluations.items()}
    groups |= {name: [e] for name, e in baselines.items()}
    compared = comparison_table(groups, metrics=METRICS, buckets=COLUMNS)
    buckets = [count.bucket for count in compared.buckets if count.num_images]
    scores = StudyScores(evaluations, baselines)
    found = _arm_seeds(arms, seeds, outcomes, evaluations)
    results = tuple(
        with_scores(
            _arm_result(facts, found[facts.arm.name], outcomes, evaluations), scores, buckets
        ).model_copy(
            update={
                "costs": _costs(facts.arm.name, evaluations),
                "stability": _stability(facts.arm.name, stabilities or {}),
            }
        )
        for facts in arms
    )
    estimates = {
        name: {
            b: {m: estimate(scores.baseline(name, b, m), scores.places(b)) for m in METRICS}
            for b in buckets
        }
        for name in baselines
    }
    selection = select_arm([f.arm for f in arms], study.selected_on, selecting or {})
    return Usefulness(
        command=command,
        study=study,
        cap_m=compared.cap_m,
        buckets=compared.buckets,
        baselines=estimates,
        arms=results,
        selection=selection,
        verdicts=judge_all(scores, results, selection.chosen, estimates),
        left_out=left_out,
    )


def _costs(name: str, evaluations: Runs) -> dict[Condition, SeedStatistic]:
    by_seed = {seed: cost_of_conditions(e) for (arm, seed), e in evaluations.items() if arm == name}
    found = {c: seed_statistic({s: v[c] for s, v in by_seed.items() if c in v}) for c in Condition}
    return {condition: value for condition, value in found.items() if value}


def _stability(
    name: str, stabilities: Mapping[tuple[str, int], Stability]
) -> dict[str, SeedStatistic]:
    of_arm = {seed: one for (arm, seed), one in stabilities.items() if arm == name}
    values = {
        "mean_dv": {seed: one.mean_dv for seed, one in of_arm.items()},
        "max_piv": {seed: one.max_piv for seed, one in of_arm.items()},
    }
    found = {
        measure: seed_statistic({s: v for s, v in by_seed.items() if v is not None})
        for measure, by_seed in values.items()
    }
    return {measure: value for measure, value in found.items() if value}


def _arm_seeds(
    arms: Sequence[ArmFacts],
    seeds: Sequence[int],
    outcomes: Mapping[tuple[str, int], Outcome],
    evaluations: Runs,
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
    evaluations: Runs,
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
    )
