"""Agreement of samples with their conditioning: the prompt's condition and the control's depth."""

from collections.abc import Iterator

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.pipelines.small_diffusion.data.views import CONDITIONS
from nightrain.pipelines.small_diffusion.measure.depth_network import aligned_errors
from nightrain.pipelines.small_diffusion.measure.figures import Figure
from nightrain.pipelines.small_diffusion.measure.frames import log_inverse_depth
from nightrain.pipelines.small_diffusion.measure.judges import Judges
from nightrain.pipelines.small_diffusion.measure.samples import SEED, Mode, Samples

ACCURACY_GOAL, RATIO_GOAL = 0.9, 3.0
SETS: dict[Mode, tuple[Condition, ...]] = {
    "text2image": CONDITIONS,
    "image2image": (Condition.NIGHT, Condition.RAIN),
}
SEEDS = f"{SEED} + 1000 x condition + frame"


def condition_figures(samples: Samples, judges: Judges) -> Iterator[Figure]:
    """Accuracy of the condition classifier: samples against their prompts' condition."""
    for mode, conditions in SETS.items():
        found = {c: judges.probabilities(samples.under(c, mode)) for c in conditions}
        ceilings = {c: judges.probabilities(samples.frames.true(c)) for c in conditions}
        hits = {c: _accuracy(p, c) for c, p in found.items()}
        ceiling = {c: _accuracy(p, c) for c, p in ceilings.items()}
        yield Figure(
            measure="condition",
            name=f"{mode}, mean of {len(conditions)} conditions",
            value=_mean(hits),
            goal=ACCURACY_GOAL,
            references={
                "true pictures": _mean(ceiling),
                "shuffled prompts": _shuffled_accuracy(found),
                "constant": 1 / len(conditions),
            },
            samples=sum(map(len, found.values())),
            seeds=SEEDS,
        )
        for condition, hit in hits.items():
            yield Figure(
                measure="condition",
                name=f"{mode}, {condition}",
                value=hit,
                references={"true pictures": ceiling[condition]},
                samples=len(found[condition]),
                seeds=SEEDS,
            )


def _accuracy(probabilities: np.ndarray, condition: Condition) -> float:
    return float((probabilities.argmax(1) == CONDITIONS.index(condition)).mean())


def _mean(values: dict[Condition, float]) -> float:
    return float(np.mean(list(values.values())))


def _shuffled_accuracy(found: dict[Condition, np.ndarray]) -> float:
    """Mean accuracy of samples against each condition of the set, as prompts at random give."""
    return _mean({c: float(np.mean([_accuracy(p, c) for p in found.values()])) for c in found})


def depth_figures(samples: Samples, judges: Judges) -> Iterator[Figure]:
    """Depth estimated from samples: its error against a shuffled control over the right one's."""
    targets = log_inverse_depth(samples.frames.controls)
    for mode, conditions in SETS.items():
        found = {c: _errors(judges, samples.under(c, mode), targets) for c in conditions}
        true = {c: _errors(judges, samples.frames.true(c), targets) for c in conditions}
        names = {f"{mode}, mean of {len(conditions)} conditions": conditions}
        for name, of in (names | {f"{mode}, {c}": (c,) for c in conditions}).items():
            right, shuffled = np.mean([found[c] for c in of], 0)
            true_right, true_shuffled = np.mean([true[c] for c in of], 0)
            yield Figure(
                measure="depth",
                name=name,
                value=float(shuffled / right),
                unit="x",
                goal=RATIO_GOAL if len(of) > 1 else None,
                references={
                    "error": float(right),
                    "shuffled control": float(shuffled),
                    "true pictures": float(true_right),
                    "ratio of true pictures": float(true_shuffled / true_right),
                    "constant": 1.0,
                },
                samples=sum(len(samples.under(c, mode)) for c in of),
                seeds=SEEDS,
            )


def _errors(judges: Judges, images: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Mean errors against the right control, and against another place's."""
    estimates = judges.log_inverse_depth(images)
    other = np.roll(targets, -1, axis=0)[: len(images)]
    right = aligned_errors(estimates, targets[: len(images)])
    return float(right.mean()), float(aligned_errors(estimates, other).mean())
