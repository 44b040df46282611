"""Limits of the built-in gates, as fields of their settings.

A limit is a number, or a pair of numbers: at severity 0 and at severity 1, and linear between.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field

from nightrain.datasets.conditions import Condition
from nightrain.datasets.validation import Settings

TAIL_SHARE = 0.15  # of the scores whose excess is averaged
LEAST_SHARE = 1e-6
Level = Annotated[float, Field(ge=0, le=255)]
Share = Annotated[float, Field(ge=0, le=1)]
Strength = Annotated[float, Field(ge=0)]
Margin = Annotated[float, Field(ge=-100, le=100)]
Agreement = Annotated[float, Field(ge=-1, le=1)]


def at_severity(limit: float | tuple[float, float], severity: float) -> float:
    """Return the limit at a severity in [0, 1]."""
    if isinstance(limit, tuple):
        mild, severe = limit
        return mild + (severe - mild) * severity
    return limit


def most_allowed(scores: Sequence[Mapping[str, float]], name: str, share: float) -> float:
    """Return a limit that about this share of such scores is above, with three digits.

    Beyond their 85th percentile scores are taken to be distributed exponentially, with the mean
    excess that they have: a quantile of few scores depends on one or two of them, and a share below
    one of them has none (peaks over threshold, Pickands 1975, with a shape of 0).
    """
    values = sorted(score[name] for score in scores)
    if share >= TAIL_SHARE:
        return float(f"{_quantile(values, 1 - share):.3g}")
    edge = _quantile(values, 1 - TAIL_SHARE)
    excess = [value - edge for value in values if value > edge]
    mean = math.fsum(excess) / len(excess) if excess else 0.0
    return float(f"{edge + mean * math.log(TAIL_SHARE / max(share, LEAST_SHARE)):.3g}")


def least_allowed(scores: Sequence[Mapping[str, float]], name: str, share: float) -> float:
    """Return a limit that about this share of such scores is below; see `most_allowed`."""
    return -most_allowed([{name: -score[name]} for score in scores], name, share)


def _quantile(values: Sequence[float], share: float) -> float:
    place = share * (len(values) - 1)
    low, high = values[math.floor(place)], values[math.ceil(place)]
    return low + (high - low) * (place - math.floor(place))


class FaultsLimits(Settings):
    """Limits beyond which a picture is broken."""

    least_highlight: Level | tuple[Level, Level] = Field(
        default=30.0, description="Least 99th percentile of luma; below: black"
    )
    least_spread: Level | tuple[Level, Level] = Field(
        default=6.0, description="Least standard deviation of luma; below: flat"
    )
    most_white: Share | tuple[Share, Share] = Field(
        default=0.3, description="Largest share of white pixels; above: saturated"
    )
    least_levels: Share | tuple[Share, Share] = Field(
        default=0.5, description="Least share of a channel's range that is used; below: posterised"
    )
    least_change: Level | tuple[Level, Level] = Field(
        default=3.0,
        description="Least mean difference from the clear frame in levels; below: unchanged",
    )


class AlignmentLimits(Settings):
    """Limits of agreement and displacement between a variant and its clear frame."""

    least_agreement: Agreement | tuple[Agreement, Agreement] = Field(
        default=0.42,
        description="Least agreement of edge directions; 1 is the same picture, 0 is chance",
    )
    most_displacement: Share | tuple[Share, Share] = Field(
        default=0.01, description="Largest displacement, as a share of the longer side"
    )


class StructureLimits(Settings):
    """Limits of the gate of structure under one condition."""

    most_lost: Share | tuple[Share, Share] = Field(
        description="Largest share of a region's visible edges that may be lost"
    )
    most_novel: Strength | tuple[Strength, Strength] = Field(
        description="Largest strength of a region's edges that the clear frame has not"
    )


class DepthLimits(Settings):
    """Limits of the gate of depth under one condition, in differences of log depth."""

    most_nearer: Strength | tuple[Strength, Strength] = Field(
        default=0.6,
        description="Largest mean of a window that looks nearer than in the clear frame",
    )
    most_farther: Strength | tuple[Strength, Strength] = Field(
        default=0.9,
        description="Largest mean of a window that looks farther than in the clear frame",
    )
    most_appeared: Strength | tuple[Strength, Strength] = Field(
        default=1.0,
        description="Largest mean of a window in which a near thing appears, also in front of what "
        "the condition hides",
    )
    most_error: Strength | tuple[Strength, Strength] = Field(
        default=0.15, description="Largest mean over the whole picture"
    )


class SimilarityLimits(Settings):
    """Limits of the gate of self-similarity under one condition; a distance is 0 to 2."""

    most_distance: Strength | tuple[Strength, Strength] = Field(
        default=0.35, description="Largest mean distance of all positions"
    )
    most_worst: Strength | tuple[Strength, Strength] = Field(
        default=1.1, description="Largest distance of a position"
    )


# About the 98th percentiles of good variants of 60 train frames of the built-in world.
STRUCTURE_LIMITS = {
    Condition.NIGHT: StructureLimits(most_lost=0.77, most_novel=0.66),
    Condition.RAIN: StructureLimits(most_lost=0.69, most_novel=0.52),
    Condition.SNOW: StructureLimits(most_lost=0.69, most_novel=0.46),
    Condition.FOG: StructureLimits(most_lost=0.55, most_novel=0.24),
    Condition.NIGHT_RAIN: StructureLimits(most_lost=0.77, most_novel=0.66),
}
