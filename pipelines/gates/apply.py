"""Gating: measure a variant by the gates of a recipe, and judge its scores."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.gates.base import Gate, GateSettings, Measured, Rejection
from nightrain.pipelines.runs.batches import raise_if_it_ends_the_run

if TYPE_CHECKING:
    import numpy as np

GATE_REASONS = (Reason.GATE_REJECTED, Reason.GATE_ERROR)
Scores = dict[str, dict[str, float]]  # by gate and score
# Of a recipe that keeps what its gates reject
ACCEPTED = Rejection("inverted.accepted", "the gates accept it, and the recipe inverts them")


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """Scores of a variant and why it is rejected; codes are `<gate>.<code>`."""

    scores: Scores
    rejections: tuple[Rejection, ...]
    confidence: np.ndarray | None = None  # (h, w) float32 in [0, 1]; the least of all gates

    @property
    def words(self) -> str:
        """The reasons of the rejections, in one line."""
        return "; ".join(reason for _, reason in self.rejections)

    @property
    def codes(self) -> list[str]:
        """Reason codes of the rejections."""
        return [rejection.code for rejection in self.rejections]


def apply_gates(
    settings: Iterable[GateSettings],
    gates: Mapping[str, Gate],
    request: Request,
    variant: Variant,
    inverted: bool = False,
) -> GateVerdict:
    """Measure and judge a variant; `inverted` accepts what the gates reject, and nothing else.

    Raises DamagedInput for a gate that fails, and for a variant of a wrong size or type, which is
    not measured; InvalidRequest.
    """
    settings = tuple(settings)
    if not settings:
        return GateVerdict({}, ())
    scores, confidence = measure(gates, request, variant)
    rejections = judge(settings, scores, request.condition, request.severity, inverted)
    return GateVerdict(scores, rejections, confidence)


def measure(
    gates: Mapping[str, Gate], request: Request, variant: Variant
) -> tuple[Scores, np.ndarray | None]:
    """Return scores by gate, and the least confidence of each pixel; raises as `apply_gates`."""
    image, expected = variant.image, request.image
    if image.shape != expected.shape or image.dtype != expected.dtype:
        found = f"found {image.dtype} {image.shape}, expected {expected.dtype} {expected.shape}"
        raise DamagedInput(Reason.GATE_REJECTED, f"the variant has a wrong size: {found}")
    scores, maps = Scores(), []
    for name, gate in gates.items():
        measured = _measured(name, gate, request, variant)
        # As they are stored, so that limits that are applied later find the same.
        scores[name] = {key: float(f"{value:.6g}") for key, value in measured.scores.items()}
        if measured.confidence is not None:
            maps.append(measured.confidence)
    return scores, _least(maps)


def judge(
    settings: Iterable[GateSettings],
    scores: Scores,
    condition: Condition,
    severity: float,
    inverted: bool = False,
) -> tuple[Rejection, ...]:
    """Judge stored scores by the limits of gates; KeyError if a gate's scores are missing."""
    found = tuple(
        Rejection(f"{gate.name}.{code}", f"gate {gate.name!r}: {reason}")
        for gate in settings
        for code, reason in gate.judge(gate.scores_to_judge(scores), condition, severity)
    )
    return found if not inverted else () if found else (ACCEPTED,)


def _measured(name: str, gate: Gate, request: Request, variant: Variant) -> Measured:
    try:
        measured = gate(request, variant)
    except Exception as error:  # whatever else a gate raises, only this variant is affected
        raise_if_it_ends_the_run(error)
        message = f"gate {name!r}: {type(error).__name__}: {error}"
        raise DamagedInput(Reason.GATE_ERROR, message) from error
    if not isinstance(measured, Measured) or not all(map(_is_finite, measured.scores.values())):
        message = f"gate {name!r} returned {measured!r:.120}, expected Measured with finite scores"
        raise DamagedInput(Reason.GATE_ERROR, message)
    return measured


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _least(maps: list[np.ndarray]) -> np.ndarray | None:
    """The least confidence of each pixel, at the size of the first map."""
    if not maps:
        return None
    import cv2

    first = maps[0]
    for other in maps[1:]:
        same = cv2.resize(other, first.shape[::-1], interpolation=cv2.INTER_AREA)
        first = cv2.min(first, same)
    return first
