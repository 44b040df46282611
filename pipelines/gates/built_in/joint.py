"""Gate of joint scores: several scores that are unusual together, though none is beyond its limit.

A score is compared with its mean and deviation over good variants, and what is above the mean is
added up: sum of log(1 + exp(z - 0.5)), which is how Fisher combines tests, in that a sum of logs
tells how improbable it is that all are so large by chance; a score below the mean adds little.
Scores of the worst place count, not means over the picture, which tell how strong the weather is.
The gate measures nothing, so it can be added to variants that were measured before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.validation import Settings
from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.gates.base import Gate, GateSettings, Measured, Rejection
from nightrain.pipelines.gates.built_in.fitting import ScoresOf, Shares, with_limits
from nightrain.pipelines.gates.built_in.limits import Strength, at_severity, most_allowed

# Scores of other gates that are larger for worse variants
COMBINED = (
    *("structure.lost", "structure.novel", "self-similarity.worst"),
    *("depth.nearer", "depth.farther", "depth.appeared"),
)
LEAST_SPREAD = 1e-3
SHOWN = 3  # scores that a rejection names


class Usual(Settings):
    """Mean and standard deviation of a score over good variants."""

    mean: float
    spread: Annotated[float, Field(gt=0)]


class JointLimits(Settings):
    """Limit of the joint score under one condition."""

    usual: dict[str, Usual] = Field(min_length=2, description="Scores to combine, by gate.score")
    most: Strength | tuple[Strength, Strength] = Field(description="Largest joint score")


class JointSettings(GateSettings):
    """Gate against variants of which several scores are unusual together."""

    judges_all: ClassVar[bool] = True
    name: Literal["joint"] = "joint"  # pyright: ignore[reportIncompatibleVariableOverride]
    by_condition: dict[Condition, JointLimits] = Field(
        default={}, description="Usual scores and limits, as `nightrain audit-gates` fits them"
    )

    def version(self) -> str:
        """Return the gate's version; there are no weights."""
        return "2"

    def build(self) -> Gate:
        """Build the gate, which measures nothing."""
        return nothing

    @property
    def num_limits(self) -> int:
        """One: the joint score."""
        return 1

    def fitted(self, good: ScoresOf, shares: Shares) -> JointSettings:
        """Choose what is usual and the limit by condition; raises InvalidRequest."""
        found = {c: _fitted(scores, shares[c]) for c, scores in good.items()}
        return with_limits(self, found)

    def judge(
        self, scores: Mapping[str, float], condition: Condition, severity: float
    ) -> Iterator[Rejection]:
        """Yield which scores are unusual together; raises InvalidRequest without limits."""
        if condition not in self.by_condition:
            raise InvalidRequest(
                f"the gate 'joint' has no limits for {condition}. Fit them with `nightrain "
                "audit-gates`, and copy them into the recipe, or leave the gate out."
            )
        limits = self.by_condition[condition]
        if missing := [name for name in limits.usual if name not in scores]:
            raise InvalidRequest(
                f"the gate 'joint' combines {', '.join(limits.usual)}, and {missing[0]} is not "
                "measured. List that gate in the recipe, too, or fit the limits again."
            )
        parts = {name: excess(scores[name], usual) for name, usual in limits.usual.items()}
        found, most = sum(parts.values()), at_severity(limits.most, severity)
        if found > most:
            largest = sorted(parts, key=lambda name: -parts[name])[:SHOWN]
            yield Rejection(
                "unusual",
                f"{', '.join(largest)} are unusual together: joint score {found:.2f}, expected at "
                f"most {most:.2f}",
            )


def excess(score: float, usual: Usual) -> float:
    """How far a score is above what is usual: 0.5 at the mean, then about 1 per deviation."""
    value = (score - usual.mean) / usual.spread - 0.5
    return value if value > 30 else math.log1p(math.exp(value))


def nothing(request: Request, variant: Variant) -> Measured:
    """Measure nothing: the scores are those of other gates."""
    return Measured({})


def _fitted(rows: Sequence[Mapping[str, float]], share: float) -> JointLimits:
    names = [name for name in COMBINED if rows and name in rows[0]]
    if len(names) < 2:
        raise InvalidRequest(
            "the gate 'joint' combines scores of the gates structure, depth and self-similarity, "
            "and the recipe lists none of them. List at least one of them, too."
        )
    usual = {name: _usual([row[name] for row in rows]) for name in names}
    joint = [{"joint": sum(excess(row[n], usual[n]) for n in names)} for row in rows]
    return JointLimits(usual=usual, most=max(0.0, most_allowed(joint, "joint", share)))


def _usual(values: list[float]) -> Usual:
    mean = math.fsum(values) / len(values)
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))
    return Usual(mean=float(f"{mean:.3g}"), spread=float(f"{max(spread, LEAST_SPREAD):.3g}"))
