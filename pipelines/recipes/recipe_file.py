"""Recipe files: built-in recipes by name, and YAML files by path."""

import re
from collections.abc import Callable
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from nightrain.datasets.errors import InvalidRequest, NightrainError
from nightrain.datasets.registry import one_line
from nightrain.datasets.validation import problems
from nightrain.pipelines.recipes.recipe import NAME, SET_ON_LOAD, Recipe

MAX_RECIPE_BYTES = 1_000_000
OPTIONAL = [n for n in Recipe.model_fields if n not in ("name", "conditions", *SET_ON_LOAD)]


def built_in_recipes() -> list[str]:
    """Return the names of the built-in recipes, sorted."""
    folder = resources.files("nightrain.pipelines.recipes")
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name[-5:] == ".yaml")


def load_recipe(name_or_path: str) -> Recipe:
    """Load a built-in recipe by name or a YAML file by path; raises InvalidRequest.

    `engine_versions` and `gate_versions` are set from the installed engine and gates.
    """
    recipe = read_recipe(name_or_path)
    engine = recipe.engine
    engine.require_engine_class()
    versions = {
        "engine_versions": {
            c: _version("engine", engine.name, partial(engine.version, c))
            for c in recipe.conditions
        },
        "gate_versions": tuple(_version("gate", g.name, g.version) for g in recipe.gates),
    }
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
    if path.stat().st_size > MAX_RECIPE_BYTES:
        raise InvalidRequest(
            f"{path} has {path.stat().st_size} bytes; a recipe has at most {MAX_RECIPE_BYTES}."
        )
    try:
        fields = _UniqueKeys(path.read_text()).get_single_data()
        if not isinstance(fields, dict):
            found = "empty" if fields is None else f"a {type(fields).__name__}"
            raise InvalidRequest(
                f"found {found}, expected a mapping with `name`, `conditions` and, where they "
                f"differ from the defaults, {', '.join(OPTIONAL)}."
            )
        return Recipe.model_validate(fields)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"{path} is not valid YAML: {_yaml_problem(error)}.") from error
    except ValidationError as error:
        found = "; ".join(problems(Recipe, error))
        raise InvalidRequest(f"{path} is not a valid recipe: {found}.") from error
    except InvalidRequest as error:
        raise InvalidRequest(f"{path} is not a valid recipe: {error}") from error


def _yaml_problem(error: Exception) -> str:
    """What is wrong and where, in one line."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())
    mark = error.problem_mark
    place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{error.problem}{place}"


class _UniqueKeys(yaml.SafeLoader):
    """Loader of plain YAML that refuses a mapping with the same key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Construct a mapping; raises ConstructorError."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for index, (key_node, _) in enumerate(node.value):
            if (key := keys[index]) in keys[:index]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"found the key {key!r} twice", key_node.start_mark
                )
        return super().construct_mapping(node, deep)
