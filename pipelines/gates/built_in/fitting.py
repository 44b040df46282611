"""Fitting of limits to the scores of good variants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from nightrain.datasets.conditions import Condition
from nightrain.pipelines.gates.base import GateSettings

ScoresOf = Mapping[Condition, Sequence[Mapping[str, float]]]
AnyGate = TypeVar("AnyGate", bound=GateSettings)


def with_limits(gate: AnyGate, by_condition: Mapping[Condition, object]) -> AnyGate:
    """Return settings with fitted limits, for the version that they were fitted for."""
    return gate.model_copy(update={"by_condition": by_condition, "for_version": gate.version()})
