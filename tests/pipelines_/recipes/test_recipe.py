"""Recipes: what decides an output is in the hash, and what is wrong is said in words."""

from pathlib import Path

import pytest

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.pipelines.recipes.recipe_file import built_in_recipes, load_recipe
from support.synthetic import recipe

GOOD = "name: mine\nengine: weather\nconditions:\n  fog: {lowest: 0.1, highest: 0.2}\n"


def written(folder: Path, text: str) -> str:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return str(path)


def test_the_name_is_not_in_the_hash_and_everything_else_is() -> None:
    base = recipe()
    assert recipe(name="other").hash == base.hash
    changes: list[dict[str, object]] = [
        {"batch_size": 4},
        {"depth": "lidar"},
        {"size": (32, 32)},
        {"jpeg_quality": 90},
        {"variants_per_frame": 2},
        {"engine_version": "2"},
    ]
    hashes = {recipe(**change).hash for change in changes} | {recipe(Condition.FOG).hash}
    assert len(hashes - {base.hash}) == len(changes) + 1


def test_a_recipe_keeps_its_hash() -> None:
    """The folder of a dataset is found again only while this number stands."""
    assert recipe().hash == "8519932e731ecbf2"


def test_a_file_and_a_built_in_recipe_load(tmp_path: Path) -> None:
    loaded = load_recipe(written(tmp_path, GOOD))
    assert loaded.conditions[Condition.FOG].highest == 0.2 and loaded.engine_version
    assert loaded.folder == f"mine-{loaded.hash[:8]}"
    assert set(built_in_recipes()) >= {"weather", "demo", "diffusion"}
    assert all(load_recipe(name).name == name for name in ("weather", "demo", "diffusion"))


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
        (GOOD + "colour: red\n", "colour is not an option; expected one of name, engine, "),
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
    with pytest.raises(InvalidRequest, match=r"no recipe file absent.yaml. Built in: demo"):
        load_recipe("absent.yaml")


def test_a_width_alone_keeps_the_aspect_in_blocks_of_eight() -> None:
    recipe = load_recipe("weather")
    assert recipe.size == 768
    sizes = {native: recipe.size_for(native) for native in ((1600, 900), (1280, 768), (1242, 375))}
    assert list(sizes.values()) == [(768, 432), (768, 464), (768, 232)]
    assert recipe.model_copy(update={"size": (64, 48)}).size_for((1600, 900)) == (64, 48)
    assert recipe.model_copy(update={"size": None}).size_for((1600, 900)) == (1600, 900)
