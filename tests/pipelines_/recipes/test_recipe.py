"""Recipes: what decides an output is in the hash, and what is wrong is said in words."""

from pathlib import Path

import pytest

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.pipelines.recipes.recipe import Recipe
from nightrain.pipelines.recipes.recipe_file import built_in_recipes, load_recipe
from support.synthetic import recipe

NIGHT = Condition.NIGHT
GOOD = "name: mine\nengine: weather\nconditions:\n  fog: {lowest: 0.1, highest: 0.2}\n"


def written(folder: Path, text: str) -> str:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return str(path)


def test_the_hash_covers_everything_but_names_and_other_conditions() -> None:
    base = recipe().hash_of(NIGHT)
    labels = {"name": "other", "description": "Other words"}
    assert recipe(**labels).hash_of(NIGHT) == recipe(NIGHT).hash_of(NIGHT) == base
    assert recipe(Condition.RAIN, NIGHT).hash_of(NIGHT) == base
    changes: list[dict[str, object]] = [
        {"batch_size": 4},
        {"depth": "lidar"},
        {"without_depth": "road-plane"},
        {"size": (32, 32)},
        {"jpeg_quality": 90},
        {"variants_per_frame": 2},
        {"seed": 1},
        {"engine_versions": {NIGHT: "2"}},
        {"conditions": {NIGHT: {"lowest": 0.2, "highest": 0.7}}},
    ]
    hashes = {recipe(**change).hash_of(NIGHT) for change in changes}
    assert len(hashes - {base, recipe().hash_of(Condition.FOG)}) == len(changes)
    assert recipe(engine_versions={Condition.FOG: "2", NIGHT: "1"}).hash_of(NIGHT) == base


def test_the_hash_of_the_whole_recipe_is_that_of_its_conditions() -> None:
    base = recipe().hash
    assert recipe(Condition.FOG, NIGHT, name="other").hash == base
    assert len({base, recipe(NIGHT).hash, recipe(jpeg_quality=90).hash}) == 3


def test_equal_settings_have_equal_hashes_however_they_are_written(tmp_path: Path) -> None:
    base = load_recipe(written(tmp_path, GOOD)).tables
    for text in (
        GOOD.replace("engine: weather", "engine: {name: weather}"),
        GOOD.replace("engine: weather\n", ""),
        GOOD.replace("{lowest: 0.1, highest: 0.2}", "{highest: 2.0e-1, lowest: 1.0e-1}"),
        GOOD + "gates: []\nseed: 0\nwithout_depth: quarantine\njpeg_quality: 95\n",
    ):
        assert load_recipe(written(tmp_path, text)).tables == base


def test_a_recipe_keeps_its_hashes() -> None:
    """Folders of existing datasets are found again only while these numbers stand."""
    assert recipe().hash_of(NIGHT) == "a0d5763218ce765b"
    assert recipe().folder_of(Condition.FOG) == "weather-ba815067"


def test_a_recorded_condition_is_a_recipe_again() -> None:
    made = recipe(seed=3, size=64)
    again = Recipe.from_settings(made.settings_of(NIGHT))
    assert again.conditions == {NIGHT: made.conditions[NIGHT]} and again.seed == 3
    assert again.tables == {made.table(NIGHT): made.settings_of(NIGHT)}


def test_a_file_and_a_built_in_recipe_load(tmp_path: Path) -> None:
    loaded = load_recipe(written(tmp_path, GOOD))
    assert loaded.conditions[Condition.FOG].highest == 0.2 and loaded.engine_versions
    assert loaded.folder_of(Condition.FOG) == f"weather-{loaded.hash_of(Condition.FOG)[:8]}"
    assert set(built_in_recipes()) >= {"weather", "weather-demo", "diffusion"}
    assert all(load_recipe(name).name == name for name in ("weather", "weather-demo", "diffusion"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: [", "not valid YAML"),
        ("name: mine", "conditions"),
        (GOOD.replace("fog", "hail"), "hail"),
        (GOOD.replace("fog", "clear"), "'weather' does not generate 'clear'"),
        (GOOD.replace("fog", "dusk"), "'weather' does not generate 'dusk'; it generates night"),
        (GOOD.replace("0.2", "1.2"), "conditions.fog.highest is 1.2; expected at most 1"),
        (GOOD.replace("0.1", "0.3"), "above highest"),
        (GOOD.replace("mine", "../mine"), "name"),
        (GOOD + "colour: red\n", "colour is not an option; expected one of name, description, "),
        (GOOD.replace("highest", "top"), "top is not an option; expected one of lowest, highest"),
        (GOOD + "size: big\n", "size is 'big'; expected a list or a valid integer"),
        (GOOD + "batch_size: many\n", "batch_size is 'many'; expected a valid integer"),
        ("name: mine\nconditions: [night]\n", r"conditions is \['night'\]; expected a mapping"),
        (GOOD + "name: yours\n", "found the key 'name' twice in line 5, column 1"),
        ("", "found empty, expected a mapping with `name`, `conditions` and"),
        ("- name\n", "found a list, expected a mapping"),
        ("name: " + 5000 * "[", "nested too deeply"),
        ("name: [a\nconditions: {", "expected ',' or '\\]', but got ':' in line 2, column 11"),
        (GOOD + "size: [8, 8]\n", "16 to 8192"),
        ("!!python/object/apply:os.system [echo]", "not valid YAML"),
    ],
)
def test_a_bad_recipe_is_refused_in_words(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as refused:
        load_recipe(written(tmp_path, text))
    assert "\n" not in str(refused.value) and "Value error" not in str(refused.value)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InvalidRequest, match=r"weathr.*weather"):
        load_recipe("weathr")
    with pytest.raises(InvalidRequest, match=r"no recipe file absent.yaml. Built in: diffusion"):
        load_recipe("absent.yaml")


def test_a_width_alone_keeps_the_aspect_in_blocks_of_eight() -> None:
    recipe = load_recipe("weather")
    assert recipe.size == 768
    sizes = {native: recipe.size_for(native) for native in ((1600, 900), (1280, 768), (1242, 375))}
    assert list(sizes.values()) == [(768, 432), (768, 464), (768, 232)]
    assert recipe.model_copy(update={"size": (64, 48)}).size_for((1600, 900)) == (64, 48)
    assert recipe.model_copy(update={"size": None}).size_for((1600, 900)) == (1600, 900)
