"""Gate interface: a gate measures a variant; its settings judge the scores by their limits.

Scores are stored with the variant, so that other limits can be applied later without the variant's
engine and without the gate's networks.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

from pydantic import Field

from nightrain.datasets.conditions import Condition
from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.plugins import PluginSettings

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class Measured:
    """Scores of one variant by name, and the confidence of its pixels."""

    scores: Mapping[str, float]  # all finite
    # (h, w) float32 in [0, 1], of any size: how far a pixel shows what that of the clear frame
    # shows; None if the gate does not know
    confidence: np.ndarray | None = None


class Rejection(NamedTuple):
    """Why the settings of a gate reject a variant."""

    code: str  # one word: "black"
    reason: str  # a sentence: what was found, what was expected


class Gate(Protocol):
    """Measures variants; the scores must depend only on the request and the variant."""

    def __call__(self, request: Request, variant: Variant) -> Measured:
        """Measure a variant, which has the size of the request's image; raises InvalidRequest.

        Any other exception quarantines the variant.
        """
        ...


class GateSettings(PluginSettings):
    """Base class of gate settings: an entry of the recipe's list `gates`."""

    # Whether `judge` and `fitted` are given the scores of all gates, as "<gate>.<score>"
    judges_all: ClassVar[bool] = False

    for_version: str | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="Version of the gate that its limits were chosen for; another one is refused",
    )

    @abstractmethod
    def version(self) -> str:
        """Return the version of the gate and its weights; part of recipe hashes.

        It changes whenever an equal variant would get other scores or another verdict. Raises
        InvalidRequest.
        """

    @property
    def num_limits(self) -> int:
        """Number of limits that `fitted` chooses."""
        return 0

    def fitted(
        self,
        good: Mapping[Condition, Sequence[Mapping[str, float]]],
        shares: Mapping[Condition, float],
    ) -> GateSettings:
        """Return settings whose limits each reject a share of good variants with such scores.

        A gate whose limits follow from something else returns itself.
        """
        return self

    @abstractmethod
    def build(self) -> Gate:
        """Build what measures; raises InvalidRequest."""

    def scores_to_judge(self, scores: Mapping[str, Mapping[str, float]]) -> Mapping[str, float]:
        """Return what `judge` reads of scores by gate; KeyError if they are missing."""
        if not self.judges_all:
            return scores[self.name]
        return {f"{gate}.{name}": v for gate, of in scores.items() for name, v in of.items()}

    @abstractmethod
    def judge(
        self, scores: Mapping[str, float], condition: Condition, severity: float
    ) -> Iterable[Rejection]:
        """Return why a variant with these scores is rejected; nothing if it is accepted."""
