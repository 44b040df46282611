"""Settings of the built-in gates, as entries of a recipe's list `gates`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

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
