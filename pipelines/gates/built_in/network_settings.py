"""Settings of the built-in gates with networks, as entries of a recipe's list `gates`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.pipelines.gates.base import Gate, GateSettings, Rejection
from nightrain.pipelines.gates.built_in.fitting import (
    ScoresOf,
    Shares,
    UpperLimit,
    above,
    fit_upper_limits,
    with_limits,
)
from nightrain.pipelines.gates.built_in.limits import (
    DepthLimits,
    Margin,
    SimilarityLimits,
    at_severity,
    least_allowed,
)

if TYPE_CHECKING:
    from nightrain.depthmodel.weights import Found


OF_DEPTH = (
    UpperLimit("nearer", "most_nearer", "nearer", "a window looks nearer than"),
    UpperLimit("farther", "most_farther", "farther", "a window looks farther than"),
    UpperLimit("appeared", "most_appeared", "appeared", "a near thing stands before what is"),
    UpperLimit("error", "most_error", "geometry", "the depth of the picture differs from that"),
)
OF_SIMILARITY = (
    UpperLimit("distance", "most_distance", "layout", "other things look alike than"),
    UpperLimit("worst", "most_worst", "place", "a place looks like other things than"),
)


class DepthSettings(DepthLimits, GateSettings):
    """Gate against variants whose geometry depth models see differently than the clear frame's."""

    name: Literal["depth"] = "depth"  # pyright: ignore[reportIncompatibleVariableOverride]
    models: tuple[Path, ...] = Field(
        min_length=1,
        description="Folders of depth models that know the weather, or of depth networks of "
        "transformers, which are aligned in scale and shift; of several, the smaller difference "
        "counts",
    )
    by_condition: dict[Condition, DepthLimits] = Field(
        default={}, description="Limits of conditions that have others"
    )

    def version(self) -> str:
        """Return the gate's version with the digests of the models; raises InvalidRequest."""
        return "-".join(["2", *(self._read(folder) for folder in self.models)])

    def build(self) -> Gate:
        """Build the gate; raises InvalidRequest for models that are not there."""
        from nightrain.pipelines.gates.built_in.depth import DepthGate

        return DepthGate(self.models)

    @property
    def num_limits(self) -> int:
        """Four: nearer, farther, what appeared, and the whole picture."""
        return len(OF_DEPTH)

    def fitted(self, good: ScoresOf, shares: Shares) -> DepthSettings:
        """Choose all limits by condition."""
        return with_limits(self, fit_upper_limits(DepthLimits, OF_DEPTH, good, shares))

    def judge(
        self, scores: Mapping[str, float], condition: Condition, severity: float
    ) -> Iterator[Rejection]:
        """Yield where the geometry differs."""
        limits = self.by_condition.get(condition, self)
        for (_, _, code, words), found, most in above(limits, OF_DEPTH, scores, severity):
            reason = f"{words} in the clear frame by {found:.2f} (log), expected at most {most:.2f}"
            yield Rejection(code, reason)

    @staticmethod
    def _read(folder: Path) -> str:
        from nightrain.depthmodel.model_header import saved_digest
        from nightrain.depthmodel.transformers_depth import foundation_weights, is_of_transformers

        try:
            if is_of_transformers(folder):
                return foundation_weights(folder).name
            return saved_digest(folder)[:8]
        except InvalidRequest as error:
            raise InvalidRequest(
                f"{error} The gate 'depth' needs a depth model that was trained on all weather; "
                "without one, use the gate 'structure', which needs no network."
            ) from error


class MarginSettings(GateSettings):
    """Base of gates whose one score is the margin of the condition over all others."""

    least_margin: Margin | tuple[Margin, Margin] = Field(
        default=-3.0,
        description="Least log probability of the condition above that of the likeliest other one",
    )
    by_condition: dict[Condition, Margin | tuple[Margin, Margin]] = Field(
        default={}, description="Limits of conditions that have others"
    )

    @property
    def num_limits(self) -> int:
        """One: the margin."""
        return 1

    def fitted(self, good: ScoresOf, shares: Shares) -> MarginSettings:
        """Choose the margin by condition."""
        found = {c: least_allowed(scores, "margin", shares[c]) for c, scores in good.items()}
        return with_limits(self, found)

    def judge(
        self, scores: Mapping[str, float], condition: Condition, severity: float
    ) -> Iterator[Rejection]:
        """Yield why a variant does not look like its condition."""
        limit = at_severity(self.by_condition.get(condition, self.least_margin), severity)
        if scores["margin"] < limit:
            yield Rejection(
                "another",
                f"it looks like another condition than {condition}: margin "
                f"{scores['margin']:.2f}, expected at least {limit:.2f}",
            )


class ConditionSettings(MarginSettings):
    """Gate against variants that do not look like the weather that was asked for."""

    name: Literal["condition"] = "condition"  # pyright: ignore[reportIncompatibleVariableOverride]

    def version(self) -> str:
        """Return the gate's version with the digest of its weights."""
        from nightrain.pipelines.gates.built_in.condition import weights_digest

        return f"1-{weights_digest()}"

    def build(self) -> Gate:
        """Build the gate; raises InvalidRequest where the ImageNet weights are missing."""
        from nightrain.pipelines.gates.built_in.condition import ConditionGate

        return ConditionGate()


class ClipSettings(MarginSettings):
    """Gate against variants that CLIP takes for another condition."""

    name: Literal["clip"] = "clip"  # pyright: ignore[reportIncompatibleVariableOverride]
    model: str = Field(description="Folder or hub id of a CLIP model of transformers")
    revision: str | None = Field(default=None, description="Commit of a hub model: 40 hex digits")

    def version(self) -> str:
        """Return the gate's version with the name of the weights; raises InvalidRequest."""
        return f"1-{self._found().name}"

    def build(self) -> Gate:
        """Build the gate; raises InvalidRequest for weights that are not there."""
        from nightrain.pipelines.gates.built_in.clip import ClipGate

        return ClipGate(self._found())

    def _found(self) -> Found:
        from nightrain.pipelines.gates.built_in.clip import clip_weights

        try:
            return clip_weights(self.model, self.revision)
        except InvalidRequest as error:
            raise InvalidRequest(
                f"{error} The gate 'clip' needs these weights; without them, use the gate "
                "'condition', whose weights are built in."
            ) from error


class SelfSimilaritySettings(SimilarityLimits, GateSettings):
    """Gate against variants in which other things look alike than in the clear frame."""

    name: Literal["self-similarity"] = "self-similarity"  # pyright: ignore[reportIncompatibleVariableOverride]
    by_condition: dict[Condition, SimilarityLimits] = Field(
        default={}, description="Limits of conditions that have others"
    )

    def version(self) -> str:
        """Return the gate's version; its weights have a pinned digest."""
        return "1"

    def build(self) -> Gate:
        """Build the gate; raises InvalidRequest where the ImageNet weights are missing."""
        from nightrain.pipelines.gates.built_in.self_similarity import SelfSimilarityGate

        return SelfSimilarityGate()

    @property
    def num_limits(self) -> int:
        """Two: the whole picture, and the worst position."""
        return len(OF_SIMILARITY)

    def fitted(self, good: ScoresOf, shares: Shares) -> SelfSimilaritySettings:
        """Choose both limits by condition."""
        return with_limits(self, fit_upper_limits(SimilarityLimits, OF_SIMILARITY, good, shares))

    def judge(
        self, scores: Mapping[str, float], condition: Condition, severity: float
    ) -> Iterator[Rejection]:
        """Yield what no longer looks alike."""
        limits = self.by_condition.get(condition, self)
        for (_, _, code, words), found, most in above(limits, OF_SIMILARITY, scores, severity):
            reason = f"{words} in the clear frame: distance {found:.2f}, expected at most"
            yield Rejection(code, f"{reason} {most:.2f}")
