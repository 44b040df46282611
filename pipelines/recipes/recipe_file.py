"""Recipe files: built-in recipes by name, and YAML files by path."""

import re
from collections.abc import Callable
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nightrain.datasets.errors import InvalidRequest, NightrainError, UnreadableFile
from nightrain.datasets.geometry.completion import VERSION as LIDAR_DEPTH
from nightrain.datasets.io.documents import parse_yaml
from nightrain.datasets.io.regular import read_regular
from nightrain.datasets.registry import one_line
from nightrain.datasets.validation import problems
from nightrain.pipelines.controls.load_source import load_depth_source
from nightrain.pipelines.recipes.recipe import NAME, SET_ON_LOAD, Recipe

MAX_RECIPE_BYTES = 1_000_000
OPTIONAL = [n for n in Recipe.model_fields if n not in ("name", "conditions", *SET_ON_LOAD)]


def built_in_recipes() -> list[str]:
    """Return the names of the built-in recipes, sorted."""
    folder = resources.files("nightrain.pipelines.recipes")
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name[-5:] == ".yaml")


def recipe_choices(schema: dict[str, Any]) -> None:
    """Describe a recipe to forms: one of the built-in ones, or a path."""
    del schema["type"]
    schema["anyOf"] = [
        {"title": "Built-in recipe", "type": "string", "enum": built_in_recipes()},
        {"title": "Path of a YAML file", "type": "string"},
    ]


def load_recipe(name_or_path: str, dataset: Path | None = None) -> Recipe:
    """Load a built-in recipe by name or a YAML file by path; raises InvalidRequest.

    Relative folders of a recipe are below the folder of `dataset`, or the current one without it.
    `engine_versions` and `gate_versions` are set from the installed engine and gates.
    """
    recipe = read_recipe(name_or_path)
    if dataset is not None:
        recipe = recipe.for_dataset(dataset)
    engine = recipe.engine
    engine.require_engine_class()
    source = recipe.network_of_depth and load_depth_source(recipe.network_of_depth)
    versions = {
        "depth_version": source.name if source else _version_of_depth(recipe),
        "engine_versions": {
            c: _version("engine", engine.name, partial(engine.version, c))
            for c in recipe.conditions
        },
        "gate_versions": tuple(_version("gate", g.name, g.version) for g in recipe.gates),
    }
    for gate, version in zip(recipe.gates, versions["gate_versions"], strict=True):
        if gate.for_version not in (None, version):
            raise InvalidRequest(
                f"recipe {recipe.name!r}: the limits of gate {gate.name!r} were chosen for version "
                f"{gate.for_version}; version {version} is installed, whose scores differ. Choose "
                "them again with `nightrain audit-gates`, or install the other version."
            )
    return recipe.model_copy(update=versions)


def read_recipe(name_or_path: str) -> Recipe:
    """Read a recipe like `load_recipe`, but without versions: no weights need to be here."""
    return _parse(_find(name_or_path))


def renamed(recipe: Recipe, name: str) -> Recipe:
    """Return the recipe under another name, without description; raises InvalidRequest."""
    if re.fullmatch(NAME, name) is None:
        raise InvalidRequest(
            f"The recipe's name is {name!r:.80}; expected small letters, digits and hyphens, such "
            "as night-2, at most 41 of them."
        )
    return recipe.model_copy(update={"name": name, "description": ""})


def _find(name_or_path: str) -> Path:
    path, names = Path(name_or_path), built_in_recipes()
    if path.suffix not in (".yaml", ".yml"):
        if name_or_path in names:
            return Path(str(resources.files("nightrain.pipelines.recipes") / f"{path}.yaml"))
        found = f"no recipe {name_or_path!r}"
    elif path.is_file():
        return path
    else:
        found = f"no recipe file {path}" if not path.is_dir() else f"a folder {path}, not a file"
    raise InvalidRequest(
        f"There is {found}. Built in: {', '.join(names)}. Give one of these or the path of a .yaml "
        "file."
    )


def _version_of_depth(recipe: Recipe) -> str:
    """Version of depth that needs no network; empty where nothing is computed."""
    return f"lidar:{LIDAR_DEPTH}" if recipe.depth == "lidar" else ""


def _version(kind: str, name: str, version: Callable[[], str]) -> str:
    """Version of a plugin; whatever it raises becomes InvalidRequest."""
    try:
        return version()
    except NightrainError:
        raise
    except Exception as error:
        raise InvalidRequest(
            f"{kind} {name!r}: its version cannot be determined ({one_line(error)}). Fix the "
            f"package that provides it, or use another {kind}."
        ) from error


def _parse(path: Path) -> Recipe:
    try:
        data = read_regular(path, MAX_RECIPE_BYTES)
        fields = parse_yaml(data)
    except UnreadableFile as error:
        raise InvalidRequest(str(error)) from error
    except ValueError as error:
        raise InvalidRequest(f"{path} is not valid YAML: {error}.") from error
    if not isinstance(fields, dict):
        found = "empty" if fields is None else f"a {type(fields).__name__}"
        raise InvalidRequest(
            f"{path} is not a valid recipe: found {found}, expected a mapping with `name`, "
            f"`conditions` and, where they differ from the defaults, {', '.join(OPTIONAL)}."
        )
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        found = "; ".join(problems(Recipe, error))
        raise InvalidRequest(f"{path} is not a valid recipe: {found}.") from error
    except InvalidRequest as error:
        raise InvalidRequest(f"{path} is not a valid recipe: {error}") from error
