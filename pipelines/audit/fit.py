"""Fitting of limits: how much of what gates may reject of good variants each of them gets.

An even split wastes most of it: a gate that knows shifted pictures without doubt needs none, and
one that looks for pasted vehicles needs more. So shares are moved between gates, condition by
condition, as long as more of the seeded defects are rejected at the same share of good variants.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from nightrain.datasets.conditions import Condition
from nightrain.pipelines.audit.samples import NO_DEFECT, RECORDED, AuditSample
from nightrain.pipelines.gates.base import GateSettings

FACTORS = (0.1, 0.3, 3.0, 10.0)  # by which the weight of a gate is changed
MOST_WEIGHT, LEAST_WEIGHT = 10.0, 0.1  # where the search starts, besides an even split
NUM_ROUNDS = 2
NUM_FOLDS = 4  # of the good variants, to count what limits reject of variants they have not seen
SCALES = np.geomspace(0.01, 10, 25)  # share of a limit, as a multiple of an even split
LARGEST_SHARE = 0.4  # of good variants beyond one limit
Shares = dict[Condition, float]


def fitted(
    gates: Sequence[GateSettings], samples: Sequence[AuditSample], most_rejected: float
) -> list[GateSettings]:
    """Fit limits so that at most a share of variants without defect is rejected, by all gates.

    The split between gates is chosen so that most of the seeded defects are rejected.
    """
    conditions = dict.fromkeys(s.condition for s in samples if s.defect == NO_DEFECT)
    shares: list[Shares] = [{} for _ in gates]
    for condition in conditions:
        chosen = _Search(gates, samples, condition, most_rejected).best()
        for of_gate, share in zip(shares, chosen, strict=True):
            of_gate[condition] = share
    good = [sample for sample in samples if sample.defect == NO_DEFECT]
    return [
        gate.fitted(_scores_of(gate, good, conditions), share)
        for gate, share in zip(gates, shares, strict=True)
    ]


class _Search:
    """Search for the shares of gates under one condition."""

    def __init__(
        self,
        gates: Sequence[GateSettings],
        samples: Sequence[AuditSample],
        condition: Condition,
        most_rejected: float,
    ) -> None:
        mine = [s for s in samples if s.condition == condition and not s.unmeasured]
        self.gates, self.condition, self.most_rejected = gates, condition, most_rejected
        self.good = [s for s in mine if s.defect == NO_DEFECT]
        self.bad: dict[str, list[AuditSample]] = {}
        for sample in mine:
            if sample.defect not in (NO_DEFECT, RECORDED):
                self.bad.setdefault(sample.defect, []).append(sample)
        self.even = most_rejected / max(1, sum(gate.num_limits for gate in gates))

    def best(self) -> list[float]:
        """Return the share of each gate's limits."""
        movable = [i for i, gate in enumerate(self.gates) if gate.num_limits]
        starts = [[1.0] * len(self.gates)]
        if len(movable) > 1:
            starts += [self._mostly(index) for index in movable]
        judged = [(*self._judged(weights), weights) for weights in starts]
        found, shares, weights = max(judged, key=lambda one: one[0])
        if len(movable) < 2:
            return shares
        for _ in range(NUM_ROUNDS):
            before = found
            for index in movable:
                for factor in FACTORS:
                    tried = [w * factor if i == index else w for i, w in enumerate(weights)]
                    now, of_gates = self._judged(tried)
                    if now > found:
                        found, shares, weights = now, of_gates, tried
            if found == before:
                break
        return shares

    def _mostly(self, index: int) -> list[float]:
        """Weights by which one gate gets nearly all, and the others enough for what is gross."""
        return [MOST_WEIGHT if i == index else LEAST_WEIGHT for i in range(len(self.gates))]

    def _judged(self, weights: Sequence[float]) -> tuple[float, list[float]]:
        """Return how well defects are found, at the largest scale that good variants allow.

        It is the mean over the defects of the square of the share that is missed, negative: a
        defect that is often missed counts more than several that are hardly missed.
        """
        low, high = 0, len(SCALES) - 1
        while low < high:  # more of the good ones are rejected as shares grow
            middle = (low + high + 1) // 2
            rejected = self._rejected(self._shares(weights, SCALES[middle]))
            low, high = (middle, high) if rejected <= self.most_rejected else (low, middle - 1)
        shares = self._shares(weights, SCALES[low])
        limits = self._limits(shares, self.good)
        caught = [_share_rejected(samples, limits) for samples in self.bad.values()]
        return -float(np.mean([(1 - one) ** 2 for one in caught])) if caught else 0.0, shares

    def _shares(self, weights: Sequence[float], scale: float) -> list[float]:
        return [min(LARGEST_SHARE, self.even * scale * weight) for weight in weights]

    def _rejected(self, shares: Sequence[float]) -> float:
        """Share of good variants rejected by limits that were fitted to the others of them."""
        folds = np.arange(len(self.good)) * NUM_FOLDS // max(1, len(self.good))  # whole scenes
        count = 0
        for fold in range(NUM_FOLDS):
            others = [s for s, of in zip(self.good, folds, strict=True) if of != fold]
            held_out = [s for s, of in zip(self.good, folds, strict=True) if of == fold]
            if others and held_out:
                limits = self._limits(shares, others)
                count += sum(bool(sample.rejections(limits)) for sample in held_out)
        return count / max(1, len(self.good))

    def _limits(self, shares: Sequence[float], good: Sequence[AuditSample]) -> list[GateSettings]:
        return [
            gate.fitted(_scores_of(gate, good, (self.condition,)), {self.condition: share})
            for gate, share in zip(self.gates, shares, strict=True)
        ]


def _share_rejected(samples: Sequence[AuditSample], gates: Sequence[GateSettings]) -> float:
    return sum(bool(sample.rejections(gates)) for sample in samples) / max(1, len(samples))


def _scores_of(
    gate: GateSettings, good: Sequence[AuditSample], conditions: Iterable[Condition]
) -> dict[Condition, list[Mapping[str, float]]]:
    return {
        c: [gate.scores_to_judge(s.scores) for s in good if s.condition == c] for c in conditions
    }
