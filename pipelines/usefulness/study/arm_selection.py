"""ArmSelection of the arm to judge: the generator with the lowest error on val, never on test."""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field

from nightrain.datasets.conditions import Condition
from nightrain.datasets.splits import Split
from nightrain.depthmodel.evaluation.results import Evaluation
from nightrain.pipelines.usefulness.arms import MAIN, Arm
from nightrain.pipelines.usefulness.study.arm_result import SeedStatistic, seed_statistic
from nightrain.pipelines.usefulness.study.statistics import FrozenModel


class ArmSelection(FrozenModel):
    """The arm that is judged, and the scores on val that selected it.

    Without scores the arm was named beforehand.
    """

    chosen: str
    split: Split | None = None
    scores: dict[str, SeedStatistic] = Field(
        default_factory=dict
    )  # abs_rel of the adverse images, by candidate

    @property
    def sentence(self) -> str:
        """How the arm was chosen."""
        if not self.scores:
            return f"The arm to judge is {self.chosen}, as fixed beforehand; nothing was selected."
        seeds = ", ".join(str(seed) for seed in self.scores[self.chosen].by_seed)
        each = ", ".join(f"{name} {found.mean:.3f}" for name, found in self.scores.items())
        return (
            f"The arm to judge is {self.chosen}: it has the lowest abs_rel on the adverse images "
            f"of {self.split} ({each}; seeds {seeds})."
        )


def select_arm(
    arms: Sequence[Arm],
    split: Split | None,
    evaluations: Mapping[tuple[str, int], Evaluation],
) -> ArmSelection:
    """Select among the generators of a study by their evaluations on val, by (arm, seed).

    Scores are means over the seeds that all candidates have; candidates without scores do not
    take part. Without a split to select on, or with one candidate, the main arm or that one.
    """
    names = [arm.name for arm in arms if arm.is_generator]
    seeds = {name: {s for arm, s in evaluations if arm == name} for name in names}
    candidates = [name for name in names if seeds[name]]
    shared = sorted(set.intersection(*(seeds[name] for name in candidates))) if candidates else []
    if split is None or len(candidates) < 2 or not shared:
        return ArmSelection(chosen=names[0] if len(names) == 1 else MAIN)
    scores = {
        name: seed_statistic({seed: _error(evaluations[name, seed]) for seed in shared})
        for name in candidates
    }
    found = {name: score for name, score in scores.items() if score is not None}
    chosen = min(found, key=lambda name: found[name].mean)
    return ArmSelection(chosen=chosen, split=split, scores=found)


def _error(evaluation: Evaluation) -> float:
    """Mean abs_rel of the images that are not clear, or of all where all are."""
    cap_m = evaluation.settings.caps_m[0]
    images = [i for i in evaluation.images if i.cap_m == cap_m and i.scaling == "metric"]
    adverse = [i for i in images if i.condition != Condition.CLEAR] or images
    return float(np.mean([i.metrics.abs_rel for i in adverse]))
