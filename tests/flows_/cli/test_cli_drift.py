"""The command drift: a table of distances, and exit code 3 where something drifted."""

import json
from pathlib import Path

from nightrain.datasets.conditions import Condition
from nightrain.pipelines.recipes.recipe import SeverityRange
from support.command import Command
from support.synthetic import SyntheticSource, ingest_synthetic, recipe
from support.training import add_variants


def test_drift_is_printed_and_ends_with_exit_code_3(tmp_path: Path, nightrain: Command) -> None:
    root = tmp_path / "dataset"
    ingest_synthetic(root, SyntheticSource(num_frames=24), frames_per_shard=12)
    for name, low in (("mild", 0.1), ("severe", 0.7)):
        severities = {Condition.FOG: SeverityRange(lowest=low, highest=low + 0.1)}
        add_variants(root, recipe(Condition.FOG, name=name, conditions=severities))
    code, text = nightrain("drift", root, "--recipe", "severe", "--against", "mild")
    assert code == 3 and "drifted" in text and "beyond 0.3" in text
    code, text = nightrain("drift", root, "--recipe", "mild", "--against", "mild", "--json")
    assert code == 0 and {one["distance"] for one in json.loads(text)["measures"]} == {0.0}
    code, text = nightrain("drift", root, "--recipe", "mild")
    assert code == 2 and "committed on one day" in text
