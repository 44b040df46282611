"""Gate registry: built-in gates, and gates from the entry-point group nightrain.gates."""

from collections.abc import Iterable

from nightrain.pipelines.gates.base import Gate, GateSettings
from nightrain.pipelines.plugins import SettingsGroup, build_once

GATES = SettingsGroup(
    group="nightrain.gates",
    kind="gate",
    base=GateSettings,
    built_in={
        "faults": "nightrain.pipelines.gates.built_in.picture_settings:FaultsSettings",
        "alignment": "nightrain.pipelines.gates.built_in.picture_settings:AlignmentSettings",
        "structure": "nightrain.pipelines.gates.built_in.picture_settings:StructureSettings",
        "condition": "nightrain.pipelines.gates.built_in.network_settings:ConditionSettings",
        "clip": "nightrain.pipelines.gates.built_in.network_settings:ClipSettings",
        "self-similarity": "nightrain.pipelines.gates.built_in.network_settings"
        ":SelfSimilaritySettings",
        "joint": "nightrain.pipelines.gates.built_in.joint:JointSettings",
        "depth": "nightrain.pipelines.gates.built_in.network_settings:DepthSettings",
    },
)


def load_gates(settings: Iterable[GateSettings]) -> dict[str, Gate]:
    """Return gates by name, each built once per process; raises InvalidRequest."""
    return {gate.name: build_once(gate) for gate in settings}
