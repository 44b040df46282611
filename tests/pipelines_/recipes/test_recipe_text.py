"""Recipes as text: resolved and commented YAML, the schema for editors, and differences."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.pipelines.controls.settings import ControlDepth
from nightrain.pipelines.engines.diffusion.models.parts import Control, IpAdapter, Lora
from nightrain.pipelines.engines.diffusion.models.settings import (
    DiffusionSettings,
    FeatureCache,
    NightBrightness,
)
from nightrain.pipelines.engines.engine_settings import EngineSettings
from nightrain.pipelines.engines.pipeline.settings import PipelineControl, PipelineSettings
from nightrain.pipelines.engines.registry import ENGINES
from nightrain.pipelines.recipes.recipe import SET_ON_LOAD, Recipe, SeverityRange
from nightrain.pipelines.recipes.recipe_diff import recipe_diff
from nightrain.pipelines.recipes.recipe_file import (
    built_in_recipes,
    load_recipe,
    read_recipe,
    renamed,
)
from nightrain.pipelines.recipes.recipe_schema import recipe_schema
from nightrain.pipelines.recipes.recipe_text import commented_yaml, resolved_yaml, write_new
from support.paths import ROOT

NIGHT, RAIN, FOG = Condition.NIGHT, Condition.RAIN, Condition.FOG
OPTION = re.compile(r"^( *)# ([a-z_]+: .*)$", re.MULTILINE)


def loaded(folder: Path, text: str) -> Recipe:
    path = folder / "copy.yaml"
    path.write_text(text)
    return read_recipe(str(path))


@pytest.mark.parametrize("name", built_in_recipes())
def test_a_recipe_survives_as_text(tmp_path: Path, name: str) -> None:
    """The resolved and the commented form are the same recipe; so is one with every default."""
    recipe = read_recipe(name)
    assert recipe.description and "\n" not in recipe.description
    resolved = resolved_yaml(recipe, lambda condition: f"note of {condition}")
    assert "} # note of night\n" in resolved and loaded(tmp_path, resolved) == recipe
    commented = commented_yaml(recipe)
    assert commented.startswith("# yaml-language-server: $schema=recipe.schema.json\n")
    assert loaded(tmp_path, commented) == recipe
    head, _, conditions = commented.partition("\nconditions:\n")
    conditions, _, rest = conditions.partition("\n\n")
    head, rest = (OPTION.sub(r"\1\2", part) for part in (head, rest))
    full = "\n".join((head, "conditions:", conditions, rest))
    assert yaml.safe_load(full).keys() == Recipe.model_fields.keys() - {*SET_ON_LOAD}
    assert loaded(tmp_path, full) == recipe


def test_every_setting_has_a_description_and_appears_in_a_new_recipe() -> None:
    for name in ENGINES.names():
        settings = ENGINES.load(name)
        missing = [n for n, f in settings.model_fields.items() if not f.description and n != "name"]
        assert not missing, name
    fields = {n: f for n, f in Recipe.model_fields.items() if n not in SET_ON_LOAD}
    assert all(field.description for field in fields.values())
    text = commented_yaml(read_recipe("diffusion"))
    for name in (*fields, *type(read_recipe("diffusion").engine).model_fields):
        assert re.search(rf"^ *(# )?{name}: ?", text, re.MULTILINE), name


def test_a_new_recipe_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    mine = renamed(read_recipe("weather"), "mine")
    schema = write_new(path, mine)
    assert read_recipe(str(path)) == mine and schema == tmp_path / "recipe.schema.json"
    before = path.read_text(), schema.stat().st_mtime_ns
    with pytest.raises(InvalidRequest, match=r"mine.yaml exists and is not overwritten"):
        write_new(path, mine)
    write_new(tmp_path / "other.yaml", mine)
    assert (path.read_text(), schema.stat().st_mtime_ns) == before
    with pytest.raises(InvalidRequest, match="cannot be written: No such file or directory"):
        write_new(tmp_path / "absent" / "mine.yaml", mine)
    for name in ("../mine", "My", "", "a" * 60, "mine\n"):
        with pytest.raises(InvalidRequest, match="expected small letters"):
            renamed(mine, name)


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = recipe_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize("name", built_in_recipes())
def test_the_schema_accepts_what_loads(validator: Draft202012Validator, name: str) -> None:
    recipe = read_recipe(name)
    for text in (commented_yaml(recipe), resolved_yaml(recipe, str)):
        assert not list(validator.iter_errors(yaml.safe_load(text)))


@pytest.mark.parametrize(
    "change",
    [
        {"colour": "red"},
        {"conditions": {}},
        {"conditions": {"dusk": {}}},
        {"conditions": {"night": {"lowest": 2}}},
        {"engine": "weathr"},
        {"engine": {"name": "weather", "steps": 3}},
        {"engine": {"name": "diffusion", "steps": 0}},
        {"engine": {"steps": 3}},
        {"size": "big"},
        {"jpeg_quality": 200},
        {"engine_versions": {"night": "1"}},
        {"gates": ["absent"]},
        {"name": "Mine"},
    ],
)
def test_the_schema_refuses_what_does_not_load(
    validator: Draft202012Validator, change: dict[str, Any]
) -> None:
    recipe = {"name": "mine", "conditions": {"night": {}}}
    assert not list(validator.iter_errors(recipe))
    assert list(validator.iter_errors(recipe | change))


def test_a_difference_says_which_conditions_it_costs() -> None:
    before = load_recipe("weather")
    conditions = {c: before.conditions[c] for c in (NIGHT, RAIN)}
    darker = conditions[NIGHT].model_copy(update={"highest": 0.8})
    after = before.model_copy(
        update={"name": "other", "conditions": {NIGHT: darker, RAIN: conditions[RAIN]}}
    )
    found = recipe_diff(before, after)
    assert [(c.setting, c.before, c.after) for c in found.changes] == [
        ("conditions.night.highest", 0.9, 0.8)
    ]
    assert (found.generated, found.kept) == ([NIGHT], [RAIN])
    assert found.dropped == [Condition.SNOW, FOG]
    back = recipe_diff(after, before)
    assert back.generated == [NIGHT, Condition.SNOW, FOG] and back.kept == [RAIN]
    renamed_only = before.model_copy(update={"name": "x", "description": "y"})
    assert recipe_diff(before, renamed_only).changes == []


def test_a_difference_of_engines_names_their_settings() -> None:
    found = recipe_diff(read_recipe("diffusion"), read_recipe("diffusion-lcm"))
    changes = {c.setting: (c.before, c.after) for c in found.changes}
    assert changes["engine.steps"] == (30, 4) and "engine.lora.scale" in changes
    assert found.kept == [] and len(found.generated) == 3


def test_every_setting_is_explained_on_its_page() -> None:
    recipes, families = (
        (ROOT / f"docs/howto/{name}.md").read_text() for name in ("recipes", "model_families")
    )
    parts = (SeverityRange, Control, IpAdapter, Lora, FeatureCache, ControlDepth, NightBrightness)
    for model in (Recipe, DiffusionSettings, *parts, PipelineSettings, PipelineControl):
        page = families if model in (PipelineSettings, PipelineControl) else recipes
        for name, field in model.model_fields.items():
            if name in SET_ON_LOAD or (issubclass(model, EngineSettings) and name == "name"):
                continue
            row = rf"^\| `{name}` \| .* \| {re.escape(field.description or 'missing')} \|$"
            assert re.search(row, page, re.MULTILINE), name


def test_the_page_on_families_has_every_built_in_recipe() -> None:
    page = (ROOT / "docs/howto/model_families.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    listed = {name for row in rows for name in re.findall(r"`([a-z0-9-]+)`", row)}
    assert set(built_in_recipes()) <= listed
