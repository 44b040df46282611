"""Settings of the built-in gates without networks, as entries of a recipe's list `gates`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import Field

from nightrain.datasets.conditions import Condition
from nightrain.pipelines.gates.base import Gate, GateSettings, Rejection
from nightrain.pipelines.gates.built_in.fitting import ScoresOf, Shares, with_limits
from nightrain.pipelines.gates.built_in.limits import (
    STRUCTURE_LIMITS,
    AlignmentLimits,
    FaultsLimits,
    StructureLimits,
    at_severity,
    least_allowed,
    most_allowed,
)


class FaultsSettings(FaultsLimits, GateSettings):
    """Gate against pictures that are broken: black, flat, white, posterised, or unchanged."""

    name: Literal["faults"] = "faults"  # pyright: ignore[reportIncompatibleVariableOverride]
    by_condition: dict[Condition, FaultsLimits] = Field(
        default={}, description="Limits of conditions that have others"
    )

    def version(self) -> str:
        """Return the gate's version; there are no weights."""
        return "1"

    def build(self) -> Gate:
        """Build the gate."""
        from nightrain.pipelines.gates.built_in.faults import measure_faults

        return measure_faults

    def judge(
        self, scores: Mapping[str, float], condition: Condition, severity: float
    ) -> list[Rejection]:
        """Return the faults of a picture."""
        limits, found = self.by_condition.get(condition, self), []
        most_white = at_severity(limits.most_white, severity)
        if scores["white"] > most_white:
            found.append(
                Rejection(
                    "saturated",
                    f"saturated: share of white pixels {scores['white']:.3g}, expected at most "
                    f"{most_white:.3g}",
                )
            )
        for code, name, words, limit in (
            ("black", "highlight", "99th percentile of luma", limits.least_highlight),
            ("flat", "spread", "standard deviation of luma", limits.least_spread),
            ("posterised", "levels", "share of used levels", limits.least_levels),
            ("unchanged", "change", "mean difference", limits.least_change),
        ):
            value, least = scores[name], at_severity(limit, severity)
            if value < least:
                reason = f"{code}: {words} {value:.3g}, expected at least {least:.3g}"
                found.append(Rejection(code, reason))
        return found


class AlignmentSettings(AlignmentLimits, GateSettings):
    """Gate against pictures whose edges are not where those of the clear frame are."""

    name: Literal["alignment"] = "alignment"  # pyright: ignore[reportIncompatibleVariableOverride]
    by_condition: dict[Condition, AlignmentLimits] = Field(
        default={}, description="Limits of conditions that have others"
    )

    def version(self) -> str:
        """Return the gate's version; there are no weights."""
        return "1"

    def build(self) -> Gate:
        """Build the gate."""
        from nightrain.pipelines.gates.built_in.alignment import measure_alignment

        return measure_alignment

    @property
    def num_limits(self) -> int:
        """One: the displacement of good variants is that of the method."""
        return 1

    def fitted(self, good: ScoresOf, shares: Shares) -> AlignmentSettings:
        """Choose the agreement by condition."""
        found = {
            condition: AlignmentLimits(
                least_agreement=max(-1.0, least_allowed(scores, "agreement", shares[condition])),
                most_displacement=self.by_condition.get(condition, self).most_displacement,
            )
            for condition, scores in good.items()
        }
        return with_limits(self, found)

    def judge(
        self, scores: Mapping[str, float], condition: Condition, severity: float
    ) -> Iterator[Rejection]:
        """Yield why a picture is not where its clear frame is."""
        limits = self.by_condition.get(condition, self)
        moved, most = scores["displacement"], at_severity(limits.most_displacement, severity)
        if moved > most:
            reason = f"displaced by {moved:.1%} of the longer side, expected at most {most:.1%}"
            yield Rejection("displaced", reason)
        found, least = scores["agreement"], at_severity(limits.least_agreement, severity)
        if found < least:
            reason = f"agreement of edge directions {found:.2f}, expected at least {least:.2f}"
            yield Rejection("disagrees", reason)


class StructureSettings(GateSettings):
    """Gate against variants that lost something visible or show something new."""

    name: Literal["structure"] = "structure"  # pyright: ignore[reportIncompatibleVariableOverride]
    by_condition: dict[Condition, StructureLimits] = Field(
        default={}, description="Limits of conditions that differ from the built-in ones"
    )

    def version(self) -> str:
        """Return the gate's version; there are no weights."""
        return "1"

    def build(self) -> Gate:
        """Build the gate."""
        from nightrain.pipelines.gates.built_in.structure import measure_structure

        return measure_structure

    def limits_of(self, condition: Condition) -> StructureLimits:
        """Return the limits of a condition; dusk has those of the night."""
        known = STRUCTURE_LIMITS | self.by_condition
        return known.get(condition, known[Condition.NIGHT])

    @property
    def num_limits(self) -> int:
        """Two: what is lost, and what is new."""
        return 2

    def fitted(self, good: ScoresOf, shares: Shares) -> StructureSettings:
        """Choose both limits by condition."""
        found = {
            condition: StructureLimits(
                most_lost=min(1.0, most_allowed(scores, "lost", shares[condition])),
                most_novel=most_allowed(scores, "novel", shares[condition]),
            )
            for condition, scores in good.items()
        }
        return with_limits(self, found)

    def judge(
        self, scores: Mapping[str, float], condition: Condition, severity: float
    ) -> Iterator[Rejection]:
        """Yield what was lost and what is new."""
        limits = self.limits_of(condition)
        lost, most_lost = scores["lost"], at_severity(limits.most_lost, severity)
        if lost > most_lost:
            yield Rejection(
                "lost",
                f"{lost:.0%} of the visible edges of a region are lost, expected at most "
                f"{most_lost:.0%}",
            )
        novel, most_novel = scores["novel"], at_severity(limits.most_novel, severity)
        if novel > most_novel:
            yield Rejection(
                "novel",
                f"a region has new edges of strength {novel:.2f}, expected at most "
                f"{most_novel:.2f}",
            )
