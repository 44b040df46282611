"""Settings of the built-in gates, as entries of a recipe's list `gates`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from nightrain.datasets.conditions import Condition
from nightrain.datasets.validation import Settings
from nightrain.pipelines.gates.base import Gate, GateSettings


class FaultsSettings(GateSettings):
    """Gate against pictures that are broken: black, flat, white, posterised, or unchanged."""

    name: Literal["faults"] = "faults"  # pyright: ignore[reportIncompatibleVariableOverride]
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

    def version(self) -> str:
        """Return the gate's version; there are no weights."""
        return "1"

    def build(self) -> Gate:
        """Build the gate."""
        from nightrain.pipelines.gates.faults import FaultsGate

        return FaultsGate(self)


class AlignmentSettings(GateSettings):
    """Gate against pictures whose edges are not where those of the clear frame are."""

    name: Literal["alignment"] = "alignment"  # pyright: ignore[reportIncompatibleVariableOverride]
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

    def version(self) -> str:
        """Return the gate's version; there are no weights."""
        return "1"

    def build(self) -> Gate:
        """Build the gate."""
        from nightrain.pipelines.gates.alignment import AlignmentGate

        return AlignmentGate(self)


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


class StructureSettings(GateSettings):
    """Gate against variants that lost something visible or show something new."""

    name: Literal["structure"] = "structure"  # pyright: ignore[reportIncompatibleVariableOverride]
    limits: dict[Condition, StructureLimits] = Field(
        default={}, description="Limits of conditions that differ from the built-in ones"
    )

    def limits_of(self, condition: Condition) -> StructureLimits:
        """Return the limits of a condition; dusk has those of the night."""
        known = STRUCTURE_LIMITS | self.limits
        return known.get(condition, known[Condition.NIGHT])

    def version(self) -> str:
        """Return the gate's version; there are no weights."""
        return "1"

    def build(self) -> Gate:
        """Build the gate."""
        from nightrain.pipelines.gates.structure import StructureGate

        return StructureGate(self)
