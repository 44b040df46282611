"""Recipes as YAML: with every default resolved, and as a commented file to edit."""

import os
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from nightrain.datasets.conditions import Condition
from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.io.atomic import write_whole
from nightrain.pipelines.recipes.recipe import SET_ON_LOAD, Recipe, SeverityRange
from nightrain.pipelines.recipes.recipe_schema import SCHEMA_FILE, write_schema

WIDTH = 100
FIELDS = tuple(name for name in Recipe.model_fields if name not in SET_ON_LOAD)


def settings(recipe: Recipe) -> dict[str, Any]:
    """All fields of a recipe file as JSON values, defaults included."""
    fields = recipe.model_dump(mode="json", exclude={*SET_ON_LOAD})
    engine, kind = fields["engine"], type(recipe.engine)
    engine = {"name": engine} if isinstance(engine, str) else engine
    left_out = {n: _default(kind, n) for n in kind.model_fields if n not in engine}
    fields["engine"] = {n: (engine | left_out)[n] for n in kind.model_fields} | engine
    return {name: fields.get(name, _default(Recipe, name)) for name in FIELDS}


def resolved_yaml(recipe: Recipe, note_of: Callable[[Condition], str]) -> str:
    """A recipe as YAML with every default resolved; a note follows each condition."""
    lines = []
    for name, value in settings(recipe).items():
        if name == "conditions":
            lines.append("conditions:")
            lines += [f"  {c}: {_flow(value[c])} # {note_of(c)}" for c in recipe.conditions]
        elif name == "engine":
            lines += ["engine:", *(f"  {key}: {_flow(inner)}" for key, inner in value.items())]
        else:
            lines.append(f"{name}: {_flow(value)}")
    return "\n".join(lines) + "\n"


def commented_yaml(recipe: Recipe) -> str:
    """A recipe as a file to edit: each field with its description, defaults commented out."""
    lines = [
        f"# yaml-language-server: $schema={SCHEMA_FILE}",
        f"# Recipe of nightrain, to edit. `nightrain recipe check {recipe.name}.yaml` checks it.",
    ]
    values = settings(recipe)
    for name in FIELDS:
        lines += ["", *_description(Recipe, name)]
        if name == "conditions":
            lines += ["conditions:", *_conditions(recipe, values[name])]
        elif name == "engine":
            lines += ["engine:", *_engine(recipe.engine, values[name])]
        else:
            kept = values[name] != _default(Recipe, name) or name in ("name", "description")
            lines.append(_option(name, values[name], kept=kept))
    return "\n".join(lines) + "\n"


def write_new(path: Path, recipe: Recipe) -> Path:
    """Write a recipe as a file to edit, and the schema next to it; return the schema's path.

    Raises InvalidRequest where the file exists; an existing schema is kept.
    """
    if os.path.lexists(path):
        raise InvalidRequest(
            f"{path} exists and is not overwritten. Choose another name, or remove the file."
        )
    try:
        path.parent.stat()  # a mistyped folder is not created
        write_whole(path, commented_yaml(recipe))
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be written: {error.strerror}.") from error
    return write_schema(path.parent)


def _conditions(recipe: Recipe, values: Mapping[str, Any]) -> Iterator[str]:
    """One line per condition that the engine generates; those not in the recipe commented out."""
    default = SeverityRange().model_dump()
    for condition in dict.fromkeys((*recipe.conditions, *recipe.engine.conditions)):
        value = values.get(condition, default)
        yield _option(str(condition), value, kept=condition in recipe.conditions, indent="  ")


def _engine(engine: BaseModel, values: Mapping[str, Any]) -> Iterator[str]:
    model = type(engine)
    for name, value in values.items():
        if name != "name":
            yield from _description(model, name, indent="  ")
        kept = name == "name" or value != _default(model, name)
        yield _option(name, value, kept=kept, indent="  ")


def _option(name: str, value: Any, *, kept: bool, indent: str = "") -> str:
    return f"{indent}{'' if kept else '# '}{name}: {_flow(value)}"


def _description(model: type[BaseModel], name: str, indent: str = "") -> list[str]:
    text = model.model_fields[name].description or ""
    mark = f"{indent}# "
    return textwrap.wrap(text, WIDTH, initial_indent=mark, subsequent_indent=mark)


def _default(model: type[BaseModel], name: str) -> Any:
    """Default of a field as a JSON value; None if it is required."""
    info = model.model_fields[name]
    if info.is_required():
        return None
    value = info.get_default(call_default_factory=True)
    return (
        model.model_construct(**{name: value})
        .model_dump(mode="json", include={name})
        .get(name, list(value) if isinstance(value, tuple) else value)
    )


def _flow(value: Any) -> str:
    """A JSON value as YAML in one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6)
    return text.removesuffix("\n").removesuffix("\n...").strip()
