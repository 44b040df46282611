"""Gate registry: gates of entry points in the group nightrain.gates; none is built in."""

from collections.abc import Iterable

from nightrain.pipelines.gates.base import Gate, GateSettings
from nightrain.pipelines.plugins import PluginGroup, build_once

GATES = PluginGroup(group="nightrain.gates", kind="gate", base=GateSettings, built_in={})


def load_gates(settings: Iterable[GateSettings]) -> dict[str, Gate]:
    """Return gates by name, each built once per process; raises InvalidRequest."""
    return {gate.name: build_once(gate) for gate in settings}
