"""Changes to a run's configuration: YAML files, and values by dotted path as `--set` gives them.

A configuration is handled as plain data until all changes are made, because a preset is valid only
with its dataset's labels and model folders. Names are checked here, values by pydantic.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from nightrain.datasets.errors import InvalidRequest, UnreadableFile
from nightrain.datasets.io.documents import mapping, parse_yaml
from nightrain.datasets.io.regular import read_regular
from nightrain.datasets.validation import expectation
from nightrain.depthmodel.roles.role import ROLES, Role
from nightrain.depthmodel.training.config import TrainConfig

Fields = dict[str, Any]
# Mappings whose fields depend on their `kind`: another kind starts from its defaults.
OF_A_KIND = ("role", "model.encoder", "model.decoder")
# Mappings with names of the user's choice: parts of networks, loss terms, constructor arguments.
FREE_NAMES = ("optimiser.lr", "role.loss.extra")
FREE_LAST = ("options", "network_options")
TAGS = ("dpt", "pixelformer", "strict", "custom")  # pydantic adds them to a decoder's place
NAMES = ("name", "labels", "id_or_folder", "revision")
EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")  # 3e-4 is text in YAML 1.1
MAX_SHOWN = 60  # characters of a refused value


def with_changes(fields: Fields, changes: Mapping[str, Any], place: str = "") -> Fields:
    """Return a configuration's fields with nested changes; lists are replaced as a whole.

    Raises InvalidRequest for a name that does not exist, with the nearest ones.
    """
    known = dict(fields)
    if place in OF_A_KIND and changes.get("kind", known.get("kind")) != known.get("kind"):
        return dict(changes)
    for name, value in changes.items():
        where = f"{place}.{name}".strip(".")
        is_free = _is_free(place) or ":" in str(known.get("kind"))  # a class of the user's
        names = _names_at([TrainConfig], place.split(".") if place else [])
        if name not in (*known, *names) and not is_free:
            raise InvalidRequest(_unknown(where, known or names))
        before = known.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            known[name] = with_changes(dict(before), value, where)
        else:
            known[name] = _numbers(value, before)
            _check_new(where, value)
    return known


def _check_new(place: str, value: Any) -> None:
    """Raise InvalidRequest for a name that a new mapping cannot have."""
    names = _names_at([TrainConfig], place.split("."))
    unknown = [k for k in value if k not in names] if isinstance(value, Mapping) else []
    if names and unknown:
        raise InvalidRequest(_unknown(f"{place}.{unknown[0]}", names))


def with_set(fields: Fields, assignments: Iterable[str]) -> Fields:
    """Return a configuration's fields with "optimiser.lr.head=3e-4" and the like, in order.

    A value is YAML: a number, true, null, [384, 224] or {kind: swin, size: tiny}. A mapping that
    was null is created. Raises InvalidRequest.
    """
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not all(path.split(".")):
            raise InvalidRequest(
                f"--set {assignment!r} is not an assignment; expected NAME=VALUE with a dotted "
                "name, such as optimiser.clip_norm=0.5."
            )
        try:
            value = parse_yaml(text)
        except ValueError as error:
            raise InvalidRequest(f"--set {path}: {text!r} is not valid YAML: {error}.") from error
        for name in reversed(path.strip().split(".")):
            value = {name: value}
        fields = with_changes(fields, value)
    return fields


def read_config(path: Path) -> tuple[str | None, Fields]:
    """Read a configuration file: a preset's name (None for a whole configuration), and fields.

    A run folder's run.json counts as a whole configuration. Raises InvalidRequest.
    """
    try:
        found = dict(mapping(parse_yaml(read_regular(path))))
    except (FileNotFoundError, UnreadableFile, ValueError) as error:
        raise InvalidRequest(
            f"{path} is not a valid configuration: {error}. Expected YAML with `preset: NAME` and "
            "the fields that differ, or all fields (`nightrain preset NAME` prints them)."
        ) from error
    run = found.get("run")
    if isinstance(run, Mapping) and isinstance(run.get("config"), Mapping):
        return None, dict(run["config"])
    preset = found.pop("preset", None)
    if preset is not None and not isinstance(preset, str):
        raise InvalidRequest(f"{path}: preset is {preset!r}; expected a preset's name.")
    return preset, found


def as_yaml(fields: Mapping[str, Any]) -> str:
    """YAML of a configuration's fields in JSON types, which `read_config` reads."""
    return yaml.safe_dump(dict(fields), sort_keys=False, default_flow_style=None, width=100)


def parsed(fields: Fields) -> TrainConfig:
    """Validate a configuration's fields.

    Raises InvalidRequest with every problem: the field, what was found, and what is expected.
    """
    try:
        return TrainConfig.model_validate(_numbers(fields))
    except ValidationError as error:
        raise InvalidRequest(" ".join(sentences(error))) from error


def sentences(error: ValidationError, place: str = "") -> list[str]:
    """A sentence for each field of a configuration that pydantic refused."""
    return list(dict.fromkeys(_sentence(problem, place) for problem in error.errors()))


def _sentence(problem: Mapping[str, Any], place: str) -> str:
    parts = [str(p) for p in problem["loc"] if p not in TAGS and "[" not in str(p)]
    where = ".".join(filter(None, [place, *parts]))
    match problem["type"]:
        case "value_error":
            text = problem["msg"].removeprefix("Value error, ")
            text = f"{where}: {text}" if where else text
        case "missing" | "missing_argument":
            text = f"{where} is missing"
        case "extra_forbidden" | "unexpected_keyword_argument":
            return _unknown(where, _names_at([TrainConfig], where.split(".")[:-1]))
        case _:
            value = repr(problem["input"])
            shown = value if len(value) <= MAX_SHOWN else f"{value[:MAX_SHOWN]}..."
            text = f"{where} is {shown}; expected {expectation(problem)}"
    return text if text.endswith(".") else f"{text}."


def _unknown(where: str, names: Iterable[str]) -> str:
    name = where.rpartition(".")[2]
    names = [known for known in names if known != name]
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    expected = " or ".join(near) if near else f"one of {', '.join(names)}" if names else "no field"
    return f"{where} is not a field of the configuration; expected {expected}."


def _names_at(classes: list[Any], place: Sequence[str]) -> list[str]:
    """Names of the fields at a place below some models and dataclasses."""
    for part in place:
        classes = [found for c in classes for found in _classes(_annotations(c).get(part))]
    return list(dict.fromkeys(name for c in classes for name in _annotations(c)))


def _annotations(cls: Any) -> dict[str, Any]:
    if is_dataclass(cls):
        return {field.name: field.type for field in dataclass_fields(cls)}
    return {name: info.annotation for name, info in cls.model_fields.items()}


def _classes(annotation: Any) -> Iterator[Any]:
    """Models and dataclasses in an annotation."""
    if annotation is Role:
        yield from map(ROLES.load, ROLES.classes)
    elif is_dataclass(annotation) or (
        isinstance(annotation, type) and issubclass(annotation, BaseModel)
    ):
        yield annotation
    for inner in get_args(annotation):
        yield from _classes(inner)


def _is_free(place: str) -> bool:
    return place in FREE_NAMES or place.rpartition(".")[2] in FREE_LAST


def _numbers(value: Any, before: Any = None) -> Any:
    """The same with numbers in place of texts such as 3e-4, which YAML 1.1 takes for text.

    A text that replaces a text stays, as does a name.
    """
    if isinstance(value, Mapping):
        known = before if isinstance(before, Mapping) else {}
        return {k: v if k in NAMES else _numbers(v, known.get(k)) for k, v in value.items()}
    is_number = isinstance(value, str) and EXPONENT.fullmatch(value)
    return float(value) if is_number and not isinstance(before, str) else value


def fields_of(config: BaseModel) -> Fields:
    """Fields of a configuration as JSON types."""
    return config.model_dump(mode="json")
