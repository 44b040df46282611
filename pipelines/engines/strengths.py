"""Strengths of image to image: shares of noise at evenly spaced severities."""

import itertools
from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

Strengths = Annotated[
    tuple[Annotated[float, Field(ge=0.0, le=1.0)], ...], Field(min_length=2, max_length=100)
]
STRENGTH = "image2image: shares of noise at evenly spaced severities, from 0 to 1"
BY_CONDITION = "Strengths of single conditions, so that equal severities look equally strong"


def strength_at(strengths: tuple[float, ...], severity: float) -> float:
    """Share of noise at a severity in [0, 1], linear between the strengths."""
    place = severity * (len(strengths) - 1)
    first = min(int(place), len(strengths) - 2)
    mild, severe = strengths[first : first + 2]
    return mild + (severe - mild) * (place - first)


def check_strengths(each: Iterable[tuple[float, ...]], steps: int | None) -> None:
    """Raise ValueError for strengths that fall, and for one that leaves none of the steps."""
    for strengths in each:
        for mild, severe in itertools.pairwise(strengths):
            if mild > severe:
                raise ValueError(
                    f"strength: {mild} is above {severe}, which is that of a greater severity"
                )
        if steps is not None and int(steps * strengths[0]) < 1:
            raise ValueError(
                f"{steps} steps at strength {strengths[0]}: steps x strength must be at least 1"
            )
