"""Commands of gates as a user meets them: output and exit codes."""

import json
from pathlib import Path

from nightrain.datasets.loader.loader import TrainingSet
from support.command import Command
from support.loader import config
from support.synthetic import all_rows

RECIPE = "name: limits\ndepth: exact\nconditions: {fog: {}}\ngates: [faults]\ngate_seeds: 1\n"


def generated(dataset: Path, folder: Path, nightrain: Command) -> Path:
    """The file of RECIPE, whose variants are generated."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE)
    assert nightrain("generate", dataset, "--recipe", recipe, "--runner", "local")[0] == 0
    return recipe


def test_a_recipe_with_stricter_limits_is_applied_without_generating(
    dataset: Path, tmp_path: Path, nightrain: Command
) -> None:
    recipe = generated(dataset, tmp_path, nightrain)
    recipe.write_text(RECIPE.replace("[faults]", "[{name: faults, least_spread: 255}]"))
    code, said = nightrain("regate", dataset, "--recipe", recipe)
    assert code == 0 and "fog: 0 stay accepted, 0 are accepted now, 10 are rejected now" in said
    code, said = nightrain("regate", dataset, "--recipe", recipe, "--json")
    assert code == 0 and json.loads(said)["conditions"]["fog"]["newly_rejected"] == 10
    recipe.write_text(RECIPE.replace("[faults]", "[structure]"))
    code, said = nightrain("regate", dataset, "--recipe", recipe)
    assert code == 2 and "no scores of structure 1" in said


def test_a_verdict_is_recorded_followed_and_removed(
    dataset: Path, tmp_path: Path, nightrain: Command
) -> None:
    generated(dataset, tmp_path, nightrain)
    name = sorted(all_rows(dataset))[0]

    def shown() -> set[str]:
        samples = TrainingSet(dataset, config(recipes=("limits",), p_clear=0.0))
        return set(samples.index.variants.columns["sample_id"].tolist())

    code, said = nightrain("review", dataset, name, "reject", "--reason", "no road")
    assert code == 0 and f"rejected {name}" in said and name not in shown()
    code, said = nightrain("review", dataset, name, "none")
    assert code == 0 and name in shown()
    for wrong, words in ((name, "has no review"), ("0" * 20, "has no variant"), ("x", "expected")):
        verdict = "none" if wrong != "0" * 20 else "accept"
        code, said = nightrain("review", dataset, wrong, verdict)
        assert code == 2 and words in said


def test_an_audit_prints_tables_and_limits_for_a_recipe(
    dataset: Path, tmp_path: Path, nightrain: Command
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    fields = ("--recipe", recipe, "--split", "train", "--frames", "6")
    code, said = nightrain("audit-gates", dataset, *fields, "--gates", "faults,alignment")
    assert code == 0 and "| black | 100 % of" in said
    assert "- faults\n- name: alignment\n" in said and "least_agreement" in said
    code, said = nightrain("audit-gates", dataset, *fields, "--limits", "recipe", "--json")
    assert code == 0 and json.loads(said)["gates"] == ["faults"]
    code, said = nightrain("audit-gates", dataset, "--recipe", recipe, "--split", "test")
    assert code == 2 and "has no clear frames in split 'test'" in said


def test_a_comparison_counts_what_it_found_and_changes_nothing_unasked(
    dataset: Path, tmp_path: Path, nightrain: Command
) -> None:
    generated(dataset, tmp_path, nightrain)
    code, said = nightrain("compare-variants", dataset, "--recipe", "limits")
    assert code == 0 and "10 variants of 10 frames" in said and "across frames: 0" in said
    # Every two variants of unlike frames are alike where 255 levels are allowed.
    fields = ("--recipe", "limits", "--most-alike", "255", "--reject", "--json")
    code, said = nightrain("compare-variants", dataset, *fields)
    found = json.loads(said)
    assert code == 0 and found["num_rejected"] > 0
    code, said = nightrain("compare-variants", dataset, "--recipe", "limits", "--json")
    assert json.loads(said)["num_variants"] == 10 - found["num_rejected"]
    code, said = nightrain("compare-variants", dataset, "--recipe", "no-such")
    assert code == 2 and "no variants called 'no-such'" in said
