"""Recipe files: built-in recipes by name, and YAML files by path."""

from importlib import resources
from pathlib import Path

import yaml
from pydantic import ValidationError

from nightrain.datasets.errors import InvalidRequest
from nightrain.pipelines.recipes.recipe import Recipe

MAX_RECIPE_BYTES = 1_000_000


def built_in_recipes() -> list[str]:
    """Return the names of the built-in recipes, sorted."""
    folder = resources.files("nightrain.pipelines.recipes")
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name[-5:] == ".yaml")


def load_recipe(name_or_path: str) -> Recipe:
    """Load a built-in recipe by name or a YAML file by path; raises InvalidRequest.

    `engine_version` and `gate_versions` are set from the installed engine and gates.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise InvalidRequest(f"There is no recipe file {path}.")
    elif name_or_path in built_in_recipes():
        path = Path(str(resources.files("nightrain.pipelines.recipes") / f"{name_or_path}.yaml"))
    else:
        raise InvalidRequest(
            f"There is no recipe {name_or_path!r}. Built in: {', '.join(built_in_recipes())}. "
            "Give one of these or the path of a .yaml file."
        )
    recipe = _parse(path)
    recipe.engine.require_engine_module()
    versions = {
        "engine_version": recipe.engine.version(tuple(recipe.conditions)),
        "gate_versions": tuple(gate.version() for gate in recipe.gates),
    }
    return recipe.model_copy(update=versions)


def _parse(path: Path) -> Recipe:
    if path.stat().st_size > MAX_RECIPE_BYTES:
        raise InvalidRequest(
            f"{path} has {path.stat().st_size} bytes; a recipe has at most {MAX_RECIPE_BYTES}."
        )
    try:
        return Recipe.model_validate(yaml.safe_load(path.read_text()))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path} is not valid YAML: {error}") from error
    except ValidationError as error:
        problems = "; ".join(_problems(error))
        raise InvalidRequest(f"{path} is not a valid recipe: {problems}") from error
    except InvalidRequest as error:
        raise InvalidRequest(f"{path} is not a valid recipe: {error}") from error


def _problems(error: ValidationError, where: tuple[str | int, ...] = ()) -> list[str]:
    """Format one line per problem: the option's path, and what is wrong with it."""
    lines: list[str] = []
    for found in error.errors():
        place, inner = (*where, *found["loc"]), found.get("ctx", {}).get("error")
        if isinstance(inner, ValidationError):  # in an engine's or a gate's own settings
            lines += _problems(inner, place)
        else:
            lines.append(f"{'.'.join(map(str, place)) or 'recipe'}: {found['msg']}")
    return lines
