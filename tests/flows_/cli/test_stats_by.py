"""`stats --by` as a user meets it: one table at its own width, JSON, and clear refusals."""

import json
from pathlib import Path

from nightrain.datasets.shards.manifest import FRAMES, Manifest
from support.command import Command

RECIPE = "name: foggy\ndepth: exact\nconditions: {fog: {}}\ngates: [faults]\ngate_seeds: 1\n"


def test_a_table_by_recipe_and_the_same_in_json(
    dataset: Path, tmp_path: Path, nightrain: Command
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    assert nightrain("generate", dataset, "--recipe", recipe, "--runner", "local")[0] == 0
    code, said = nightrain("stats", dataset, "--by", "condition,recipe")
    lines = said.splitlines()
    assert code == 0 and lines[0].split()[:4] == ["condition", "recipe", "frames", "variants"]
    (fog,) = (line.split() for line in lines if line.startswith("fog"))
    assert fog[1] == "foggy" and "100.0%" in fog
    code, said = nightrain("stats", dataset, "--by", "recipe", "--json")
    groups = {group["keys"]["recipe"]: group for group in json.loads(said)["groups"]}
    assert code == 0 and groups["foggy"]["accepted_share"] == 1.0
    assert groups["foggy"]["num_variants"] == int(fog[3]) == groups["none"]["num_frames"]
    (dataset / Manifest(dataset).entries(FRAMES)[0].rows.path).unlink()
    code, said = nightrain("stats", dataset, "--by", "camera")
    assert code == 0 and "left out frames/00000.parquet" in said and "nightrain repair" in said


def test_an_unknown_key_lists_the_keys(dataset: Path, nightrain: Command) -> None:
    code, said = nightrain("stats", dataset, "--by", "colour")
    assert code == 2 and "--by is 'colour'; expected 'condition', 'severity'" in said


def test_a_folder_without_shards_is_refused(tmp_path: Path, nightrain: Command) -> None:
    code, said = nightrain("stats", tmp_path, "--by", "camera")
    assert code == 2 and "holds no committed shards" in said
    (tmp_path / "_manifest").mkdir()
    code, said = nightrain("stats", tmp_path, "--by", "camera")
    assert code == 2 and "no committed frame or variant yet" in said
