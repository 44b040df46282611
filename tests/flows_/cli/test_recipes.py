"""The group `recipe`: what a user reads about built-in, own and recorded recipes."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from nightrain.datasets.shards.manifest import Manifest
from nightrain.flows.cli import app
from nightrain.pipelines.recipes.recipe_file import built_in_recipes, load_recipe
from nightrain.pipelines.usefulness.arms import ARMS

MINE = "name: mine\nconditions: {night: {highest: HIGHEST}, fog: {}}\n"


def nightrain(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def edited(dataset: Path, tmp_path: Path) -> Path:
    """A dataset with a recipe `mine` of two conditions, one of them edited, and one `second`."""
    path = tmp_path / "mine.yaml"
    for highest in ("0.9", "0.8"):
        path.write_text(MINE.replace("HIGHEST", highest))
        said = nightrain("generate", dataset, "--recipe", path, "--runner", "local")
        assert ("supersedes" in said) == (highest == "0.8")
    path.write_text("name: second\nconditions: {fog: {}}\n")
    nightrain("generate", dataset, "--recipe", path, "--runner", "local")
    path.write_text(MINE.replace("HIGHEST", "0.8"))
    return dataset


def test_the_built_in_recipes_are_listed_with_their_descriptions() -> None:
    text = nightrain("recipe", "list")
    for name in built_in_recipes():
        assert f"\n{name} " in f"\n{text}"
    assert "weather    night, rain, snow, fog" in text and "needs no download" in text
    listed = json.loads(nightrain("recipe", "list", "--json"))
    assert [one["name"] for one in listed] == built_in_recipes()


def test_the_recipes_of_a_dataset_are_listed_with_rows_and_what_is_superseded(
    edited: Path,
) -> None:
    listed = json.loads(nightrain("recipe", "list", "--dataset", edited, "--json"))
    found = {(t["condition"], t["superseded"]): t for t in listed}
    assert len(found) == len(listed) == 3
    assert found["fog", False]["recipes"] == ["mine", "second"]
    assert found["night", False]["recipes"] == ["mine"]
    old = found["night", True]
    assert old["recipes"] == [] and old["successor"] == found["night", False]["folder"]
    assert all((t["num_variants"], t["num_shards"]) == (10, 3) for t in listed)
    text = nightrain("recipe", "list", "--dataset", edited)
    assert f"superseded by {old['successor']}" in text and "mine, second" in text
    said = f"superseded  night {old['folder']} by {old['successor']}: 10 variants; `nightrain prune"
    assert said in nightrain("stats", edited)


def test_a_shown_recipe_is_a_recipe_file_with_hashes(edited: Path, tmp_path: Path) -> None:
    mine = load_recipe(str(tmp_path / "mine.yaml"))
    text = nightrain("recipe", "show", tmp_path / "mine.yaml")
    assert all(folder in text for folder in map(mine.folder_of, mine.conditions))
    recorded = nightrain("recipe", "show", "mine", "--dataset", edited)
    assert yaml.safe_load(recorded) == yaml.safe_load(text)
    (tmp_path / "again.yaml").write_text(recorded)
    assert load_recipe(str(tmp_path / "again.yaml")).tables == mine.tables


def test_superseded_settings_are_shown_and_compared_by_hash(edited: Path) -> None:
    listed = json.loads(nightrain("recipe", "list", "--dataset", edited, "--json"))
    (old,) = (t for t in listed if t["superseded"])
    shown = yaml.safe_load(nightrain("recipe", "show", old["folder"], "--dataset", edited))
    assert shown["conditions"] == {"night": {"lowest": 0.2, "highest": 0.9}}
    folder_hash = old["folder"].rpartition("-")[2]
    said = nightrain("recipe", "diff", folder_hash, "mine", "--dataset", edited)
    assert "conditions.night.highest: 0.9 -> 0.8\nto generate  night, fog\n" in said
    assert "no variants called 'abcdef'" in nightrain(
        "recipe", "show", "abcdef", "--dataset", edited, code=2
    )


def test_a_new_recipe_is_checked_compared_and_planned(dataset: Path, tmp_path: Path) -> None:
    said = nightrain("recipe", "new", "mine", "--out", tmp_path, "--like", "weather-world")
    path = tmp_path / "mine.yaml"
    assert f"recipe check {path}" in said and (tmp_path / "recipe.schema.json").is_file()
    assert "not overwritten" in nightrain("recipe", "new", "mine", "--out", tmp_path, code=2)
    assert f"{path} is valid: recipe mine, engine weather" in nightrain("recipe", "check", path)
    assert "to generate  none\n" in nightrain("recipe", "diff", "weather-world", path)
    path.write_text(path.read_text().replace("night-rain: {lowest: 0.3", "night-rain: {lowest: 3"))
    said = nightrain("recipe", "check", path, code=2)
    assert "conditions.night-rain.lowest is 3; expected at most 1" in said


def test_a_recipe_without_its_weights_is_shown_without_hashes() -> None:
    said = nightrain("recipe", "show", "pipeline-sd35-depth")
    assert "hf download" in said and "# hash unknown" in said


def test_the_schema_is_json() -> None:
    assert json.loads(nightrain("recipe", "schema"))["title"] == "Recipe of nightrain"


def test_help_lists_recipes_and_arms() -> None:
    for name in ("generate", "plan", "preview"):
        said = " ".join(nightrain(name, "--help").split())
        assert f"available: {', '.join(built_in_recipes())}" in said
    said = " ".join(nightrain("usefulness", "--help").split())
    assert f"available: {', '.join(ARMS)}" in said


def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    for arguments in (("list",), ("show", "mine"), ("diff", "mine", "other")):
        said = nightrain("recipe", *arguments, "--dataset", tmp_path, code=2)
        assert "holds no committed shards" in said


def test_an_unrecorded_table_is_listed_as_of_no_recipe(edited: Path) -> None:
    for path in (edited / "_manifest/recipes").rglob("*.pinned"):
        path.unlink()
    text = nightrain("recipe", "list", "--dataset", edited)
    assert text.count("of no recipe") == len(Manifest(edited).tables("variants/")) == 3
