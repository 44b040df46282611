"""Gating: apply the gates of a recipe to the outcome of a request."""

from collections.abc import Mapping
from dataclasses import replace

from nightrain.datasets.errors import DamagedInput, Reason
from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.gates.base import Gate, GateAccepted, GateRejected
from nightrain.pipelines.runs.batches import raise_if_it_ends_the_run

GATE_REASONS = (Reason.GATE_REJECTED, Reason.GATE_ERROR)


def apply_gates(
    gates: Mapping[str, Gate], request: Request, outcome: Variant | Exception
) -> Variant | Exception:
    """Return the variant with each gate's confidence in its provenance ("gate_<name>").

    Returns DamagedInput instead for the first gate that rejects it (GATE_REJECTED) or fails
    (GATE_ERROR), and failures unchanged. Raises InvalidRequest, RunFailure.
    """
    if isinstance(outcome, Exception):
        return outcome
    confidences: dict[str, str] = {}
    for name, gate in gates.items():
        try:
            verdict = gate(request, outcome)
        except Exception as error:  # whatever else a gate raises, only this variant is affected
            raise_if_it_ends_the_run(error)
            message = f"gate {name!r}: {type(error).__name__}: {error}"
            return DamagedInput(Reason.GATE_ERROR, message)
        if isinstance(verdict, GateRejected):
            return DamagedInput(Reason.GATE_REJECTED, f"gate {name!r}: {verdict.reason}")
        if not (isinstance(verdict, GateAccepted) and isinstance(verdict.confidence, int | float)):
            message = f"gate {name!r} returned {verdict!r:.80}, expected a verdict of gates.base"
            return DamagedInput(Reason.GATE_ERROR, message)
        confidences[f"gate_{name}"] = f"{verdict.confidence:.6g}"
    return replace(outcome, provenance={**outcome.provenance, **confidences})
