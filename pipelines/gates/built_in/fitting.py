"""Fitting of limits to the scores of good variants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from nightrain.datasets.conditions import Condition
from nightrain.datasets.validation import Settings
from nightrain.pipelines.gates.base import GateSettings
from nightrain.pipelines.gates.built_in.limits import at_severity, most_allowed

Shares = Mapping[Condition, float]
ScoresOf = Mapping[Condition, Sequence[Mapping[str, float]]]
Limits = TypeVar("Limits", bound=Settings)
AnyGate = TypeVar("AnyGate", bound=GateSettings)


def with_limits(gate: AnyGate, by_condition: Mapping[Condition, object]) -> AnyGate:
    """Return settings with fitted limits, for the version that they were fitted for."""
    return gate.model_copy(update={"by_condition": by_condition, "for_version": gate.version()})


class UpperLimit(NamedTuple):
    """A score that must not be above a limit."""

    score: str
    field: str  # of the limits
    code: str  # of the rejection
    words: str  # what is above


class Above(NamedTuple):
    """A score above its limit."""

    limit: UpperLimit
    found: float
    most: float


def fit_upper_limits(
    kind: type[Limits], limits: Sequence[UpperLimit], good: ScoresOf, shares: Shares
) -> dict[Condition, Limits]:
    """Choose every limit by condition, so that each rejects about a share of good variants."""
    return {
        condition: kind(
            **{one.field: most_allowed(scores, one.score, shares[condition]) for one in limits}
        )
        for condition, scores in good.items()
    }


def above(
    limits: Settings, rows: Sequence[UpperLimit], scores: Mapping[str, float], severity: float
) -> Iterator[Above]:
    """Yield the scores that are above their limits at a severity."""
    for row in rows:
        most = at_severity(getattr(limits, row.field), severity)
        if scores[row.score] > most:
            yield Above(row, scores[row.score], most)
