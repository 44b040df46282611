"""Gate registry: gates from the entry-point group nightrain.gates; none is built in."""

from collections.abc import Iterable

from nightrain.pipelines.gates.base import Gate, GateSettings
from nightrain.pipelines.plugins import SettingsGroup, build_once

GATES = SettingsGroup(group="nightrain.gates", kind="gate", base=GateSettings, built_in={})


def load_gates(settings: Iterable[GateSettings]) -> dict[str, Gate]:
    """Return gates by name, each built once per process; raises InvalidRequest."""
    return {gate.name: build_once(gate) for gate in settings}
