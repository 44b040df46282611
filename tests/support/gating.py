"""Verdicts of one gate on one variant."""

from nightrain.pipelines.engines.base import Request, Variant
from nightrain.pipelines.gates.apply import GateVerdict, apply_gates
from nightrain.pipelines.gates.base import GateSettings


def verdict_of(settings: GateSettings, request: Request, variant: Variant) -> GateVerdict:
    """The verdict of a gate; it raises as `apply_gates` does."""
    return apply_gates((settings,), {settings.name: settings.build()}, request, variant)
