"""Gate interface: a check of one variant, accepted with a confidence or rejected with a reason."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Protocol

from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.plugins import PluginSettings


@dataclass(frozen=True, slots=True)
class GateAccepted:
    """Verdict: the variant is kept; its row's provenance contains the confidence."""

    confidence: float = 1.0  # [0, 1]


@dataclass(frozen=True, slots=True)
class GateRejected:
    """Verdict: the variant is quarantined."""

    reason: str  # a sentence: what was found, what was expected


class Gate(Protocol):
    """Checks variants; the verdict must depend only on the request and the variant."""

    def __call__(self, request: Request, variant: Variant) -> GateAccepted | GateRejected:
        """Judge a variant of a request; raises InvalidRequest.

        Any other exception quarantines the variant.
        """
        ...


class GateSettings(PluginSettings):
    """Base class of gate settings: an entry of the recipe's list `gates`."""

    @abstractmethod
    def version(self) -> str:
        """Return the version of the gate and its weights; part of recipe hashes.

        It changes whenever an equal variant would get another verdict. Raises InvalidRequest.
        """

    @abstractmethod
    def build(self) -> Gate:
        """Build the gate; raises InvalidRequest."""
