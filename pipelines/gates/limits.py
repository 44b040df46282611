"""Limits of the built-in gates, as fields of their settings."""

from __future__ import annotations

from pydantic import Field

from nightrain.datasets.conditions import Condition
from nightrain.datasets.validation import Settings


class FaultsLimits(Settings):
    """Limits beyond which a picture is broken."""

    least_highlight: float = Field(
        default=30.0, ge=0, le=255, description="Least 99th percentile of luma; below: black"
    )
    least_spread: float = Field(
        default=6.0, ge=0, description="Least standard deviation of luma; below: flat"
    )
    most_white: float = Field(
        default=0.3, ge=0, le=1, description="Largest share of white pixels; above: saturated"
    )
    least_levels: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Least share of a channel's range that is used; below: posterised",
    )
    least_change: float = Field(
        default=3.0,
        ge=0,
        description="Least mean difference from the clear frame in levels; below: unchanged",
    )


class AlignmentLimits(Settings):
    """Limits of agreement and displacement between a variant and its clear frame."""

    least_agreement: float = Field(
        default=0.42,
        ge=-1,
        le=1,
        description="Least agreement of edge directions; 1 is the same picture, 0 is chance",
    )
    most_displacement: float = Field(
        default=0.01,
        gt=0,
        le=1,
        description="Largest displacement, as a share of the longer side",
    )


class StructureLimits(Settings):
    """Limits of the gate of structure under one condition."""

    most_lost: float = Field(
        ge=0, le=1, description="Largest share of a region's visible edges that may be lost"
    )
    most_novel: float = Field(
        ge=0, description="Largest strength of a region's edges that the clear frame has not"
    )


# About the 98th percentiles of good variants of 60 train frames of the built-in world.
STRUCTURE_LIMITS = {
    Condition.NIGHT: StructureLimits(most_lost=0.77, most_novel=0.66),
    Condition.RAIN: StructureLimits(most_lost=0.69, most_novel=0.52),
    Condition.SNOW: StructureLimits(most_lost=0.69, most_novel=0.46),
    Condition.FOG: StructureLimits(most_lost=0.55, most_novel=0.24),
    Condition.NIGHT_RAIN: StructureLimits(most_lost=0.77, most_novel=0.66),
}


class StructureByCondition(Settings):
    """Limits of the gate of structure under each condition."""

    limits: dict[Condition, StructureLimits] = Field(
        default={}, description="Limits of conditions that differ from the built-in ones"
    )

    def limits_of(self, condition: Condition) -> StructureLimits:
        """Return the limits of a condition; dusk has those of the night."""
        known = STRUCTURE_LIMITS | self.limits
        return known.get(condition, known[Condition.NIGHT])
