"""Settings of the built-in gates, as entries of a recipe's list `gates`."""

from __future__ import annotations

from typing import Literal

from nightrain.pipelines.gates.base import Gate, GateSettings
from nightrain.pipelines.gates.limits import AlignmentLimits, FaultsLimits, StructureByCondition


class FaultsSettings(FaultsLimits, GateSettings):
    """Gate against pictures that are broken: black, flat, white, posterised, or unchanged."""

    name: Literal["faults"] = "faults"  # pyright: ignore[reportIncompatibleVariableOverride]

    def version(self) -> str:
        """Return the gate's version; there are no weights."""
        return "1"

    def build(self) -> Gate:
        """Build the gate."""
        from nightrain.pipelines.gates.faults import FaultsGate

        return FaultsGate(self)


class AlignmentSettings(AlignmentLimits, GateSettings):
    """Gate against pictures whose edges are not where those of the clear frame are."""

    name: Literal["alignment"] = "alignment"  # pyright: ignore[reportIncompatibleVariableOverride]

    def version(self) -> str:
        """Return the gate's version; there are no weights."""
        return "1"

    def build(self) -> Gate:
        """Build the gate."""
        from nightrain.pipelines.gates.alignment import AlignmentGate

        return AlignmentGate(self)


class StructureSettings(StructureByCondition, GateSettings):
    """Gate against variants that lost something visible or show something new."""

    name: Literal["structure"] = "structure"  # pyright: ignore[reportIncompatibleVariableOverride]

    def version(self) -> str:
        """Return the gate's version; there are no weights."""
        return "1"

    def build(self) -> Gate:
        """Build the gate."""
        from nightrain.pipelines.gates.structure import StructureGate

        return StructureGate(self)
