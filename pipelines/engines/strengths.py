"""Strengths of image to image: shares of noise at evenly spaced severities."""

import itertools
from collections.abc import Mapping
from typing import Annotated, Protocol

from pydantic import Field

from nightrain.datasets.conditions import Condition

Strengths = Annotated[
    tuple[Annotated[float, Field(ge=0.0, le=1.0)], ...], Field(min_length=2, max_length=100)
]
STRENGTH = "image2image: shares of noise at evenly spaced severities, from 0 to 1"
BY_CONDITION = "Strengths of single conditions, so that equal severities look equally strong"


class HasStrengths(Protocol):
    """Settings with strengths of all conditions, and of single ones."""

    @property
    def strength(self) -> tuple[float, ...]:
        """Strengths of conditions without their own."""
        ...

    @property
    def strength_by_condition(self) -> Mapping[Condition, tuple[float, ...]]:
        """Strengths of single conditions."""
        ...


def strength_for(settings: HasStrengths, condition: Condition, severity: float) -> float:
    """Share of noise of a condition at a severity in [0, 1]; linear between the settings'."""
    return strength_at(settings.strength_by_condition.get(condition, settings.strength), severity)


def all_strengths(settings: HasStrengths) -> list[tuple[float, ...]]:
    """Strengths of all conditions, and those of single ones."""
    return [settings.strength, *settings.strength_by_condition.values()]


def strength_at(strengths: tuple[float, ...], severity: float) -> float:
    """Share of noise at a severity in [0, 1], linear between the strengths."""
    place = severity * (len(strengths) - 1)
    first = min(int(place), len(strengths) - 2)
    mild, severe = strengths[first : first + 2]
    return mild + (severe - mild) * (place - first)


def check_strengths(settings: HasStrengths, steps: int | None) -> None:
    """Raise ValueError for strengths that fall, and for one that leaves none of the steps."""
    for strengths in all_strengths(settings):
        for mild, severe in itertools.pairwise(strengths):
            if mild > severe:
                raise ValueError(
                    f"strength: {mild} is above {severe}, which is that of a greater severity"
                )
        if steps is not None and int(steps * strengths[0]) < 1:
            raise ValueError(
                f"{steps} steps at strength {strengths[0]}: steps x strength must be at least 1"
            )
