"""JSON schema of recipe files, for editors: fields, engines and gates with their descriptions."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from nightrain.datasets.io.atomic import write_whole
from nightrain.pipelines.engines.registry import ENGINES
from nightrain.pipelines.gates.registry import GATES
from nightrain.pipelines.plugins import SettingsGroup
from nightrain.pipelines.recipes.recipe import SET_ON_LOAD, Recipe

SCHEMA_FILE = "recipe.schema.json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
REF = "#/$defs/{model}"


def recipe_schema() -> dict[str, Any]:
    """JSON schema of a recipe file, with all installed engines and gates; raises InvalidRequest."""
    schema = Recipe.model_json_schema(ref_template=REF)
    fields, definitions = schema["properties"], schema["$defs"]
    for name in SET_ON_LOAD:
        del fields[name]
    for base in ("EngineSettings", "GateSettings"):
        definitions.pop(base, None)
    fields["engine"] |= _choice(ENGINES, definitions)
    fields["gates"] |= {"type": "array", "items": _choice(GATES, definitions)}
    for field in ("engine", "gates"):
        for key in ("$ref", "allOf"):
            fields[field].pop(key, None)
    rules = [_conditions_of(name) for name in ENGINES.names()]
    return {"$schema": DIALECT, **schema, "title": "Recipe of nightrain", "allOf": rules}


def write_schema(folder: Path) -> Path:
    """Write the schema to a folder unless it is there; return its path; raises InvalidRequest."""
    path = folder / SCHEMA_FILE
    if not path.exists():
        write_whole(path, json.dumps(recipe_schema(), indent=1) + "\n")
    return path


def _choice(group: SettingsGroup, definitions: dict[str, Any]) -> dict[str, Any]:
    """Schema of a plugin's name or settings; the settings are added to the definitions."""
    names = group.names()
    for name in names:
        definitions[f"{group.kind}-{name}"] = _settings_schema(group.load(name), definitions)
    mappings = [{"$ref": f"#/$defs/{group.kind}-{name}"} for name in names]
    return {"anyOf": [{"enum": names}, *mappings]}


def _settings_schema(model: type[BaseModel], definitions: dict[str, Any]) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template=REF)
    definitions |= schema.pop("$defs", {})
    return schema | {"required": ["name", *schema.get("required", [])]}


def _conditions_of(engine: str) -> dict[str, Any]:
    """Rule: a recipe of the engine has only conditions that the engine generates."""
    is_engine = {"properties": {"engine": {"anyOf": [{"const": engine}, _named(engine)]}}}
    required = [] if engine == Recipe.model_fields["engine"].default else ["engine"]
    names = {"enum": [str(condition) for condition in ENGINES.load(engine).conditions]}
    return {
        "if": {**is_engine, "required": required},
        "then": {"properties": {"conditions": {"propertyNames": names}}},
    }


def _named(name: str) -> dict[str, Any]:
    return {"type": "object", "properties": {"name": {"const": name}}, "required": ["name"]}
