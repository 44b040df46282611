"""Commands from pydantic models: one field is one option, with its help, default and bounds.

    @command
    def caption(job: CaptionJob, options: FlowOptions) -> None:
        \"\"\"Caption each frame with one sentence.\"\"\"

Every parameter of the function is a model, and their fields are the command's options (see
pipelines/runs/command_line.py for names). Click splits the command line, and pydantic converts and
checks the values; a rejected value gives one sentence that names the option.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import click
from pydantic import BaseModel, ValidationError

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.validation import BOUNDS, expectation
from nightrain.flows.cli.group import HelpContext
from nightrain.pipelines.runs.command_line import (
    JobField,
    extra,
    is_many,
    is_size,
    job_fields,
    value_type,
)

Given = Mapping[str, Any]  # by click's name of the parameter: text, texts or a flag; None if absent

PLACEHOLDERS = {int: "INTEGER", float: "NUMBER", Path: "PATH"}
LONGEST_CHOICE = 18  # characters of "a|b|c" that still fit in the first column of the help


def command(function: Callable[..., None]) -> "ModelCommand":
    """Turn a function of models into a command; its docstring is the help page."""
    hints = get_type_hints(function)
    models = {name: hints[name] for name in inspect.signature(function).parameters}
    name = function.__name__.replace("_", "-")
    return model_command(name, function, models, inspect.getdoc(function) or "")


def model_command(
    name: str, function: Callable[..., None], models: Mapping[str, type[BaseModel]], help: str
) -> "ModelCommand":
    """Make a command from a function, its parameters' models, and the text of its help page.

    Raises InvalidRequest if two fields have the same option, as those of a plugin may.
    """
    fields = {
        "__".join((key, *field.path)): field
        for key, model in models.items()
        for field in job_fields(model)
    }
    labels = [field.label for field in fields.values()]
    if twice := {label for label in labels if labels.count(label) > 1}:
        clash = [".".join(f.path) for f in fields.values() if f.label == min(twice)]
        raise InvalidRequest(
            f"{name}: the fields {' and '.join(clash)} have the same option {min(twice)}. Rename "
            'one, or give it another option with json_schema_extra={"cli": "--other-name"}.'
        )

    def run(**given: Any) -> None:
        function(**{key: parse(model, key, given) for key, model in models.items()})

    # Arguments and required options come first.
    order = sorted(
        fields, key=lambda key: not (fields[key].info.is_required() or fields[key].is_argument)
    )
    made = ModelCommand(
        name,
        callback=run,
        params=[_parameter(key, fields[key]) for key in order],
        help=help,
        context_settings={"max_content_width": 100, "help_option_names": ["--help"]},
    )
    made.models = models
    return made


class ModelCommand(click.Command):
    """Command that takes the fields of models as options."""

    context_class = HelpContext
    models: Mapping[str, type[BaseModel]] = {}  # by the name of the function's parameter

    def parsed(self, arguments: list[str], *, look: bool = True) -> dict[str, Any]:
        """Build the models from a command line, without running it; raises click.UsageError."""
        given = self.make_context(self.name, arguments).params
        return {key: parse(model, key, given, look=look) for key, model in self.models.items()}


# Fields to click's parameters


def _parameter(name: str, field: JobField) -> click.Parameter:
    kind, required = value_type(field.info.annotation), field.info.is_required()
    shared: dict[str, Any] = {"help": _help(field), "required": required, "default": None}
    if field.is_argument:
        metavar = f"{field.label}..." if is_many(kind) else field.label
        return click.Argument(
            [name],
            # Of any number, so that click assigns the arguments after an optional one first.
            nargs=-1 if is_many(kind) or not required else 1,
            metavar=metavar if required else f"[{metavar}]",
            **shared,
        )
    if kind is bool:
        off = "" if field.info.default is False else f"/--no-{field.label.removeprefix('--')}"
        return click.Option([f"{field.label}{off}", name], is_flag=True, type=bool, **shared)
    return click.Option(
        [field.label, name],
        multiple=is_many(kind),
        metavar=_placeholder(kind) if field.has_commas else "NAME=VALUE",
        type=str,
        **shared,
    )


def _placeholder(kind: Any) -> str:
    if is_size(kind):
        return "WIDTHxHEIGHT"
    if is_many(kind):
        return f"{_placeholder(_item(kind))},..."
    if names := "|".join(choices(kind)):
        return names if len(names) <= LONGEST_CHOICE else "NAME"
    return PLACEHOLDERS.get(_item(kind), "TEXT")


def _help(field: JobField) -> str:
    info, notes = field.info, list(bounds(field))
    default = None if info.is_required() else info.get_default(call_default_factory=True)
    if default is True:
        notes.insert(0, f"default: {field.label}")
    elif default not in (None, "", (), []) and default is not False:
        notes.insert(0, f"default: {_shown(default)}")
    if len("|".join(names := choices(value_type(info.annotation)))) > LONGEST_CHOICE:
        notes.append(f"one of: {', '.join(names)}")
    if info.examples:
        notes.append(f"available: {', '.join(map(str, info.examples))}")
    return (info.description or "") + (f"  [{'; '.join(notes)}]" if notes else "")


def bounds(field: JobField) -> Iterator[str]:
    """Yield the bounds of a field's value in words: "at least 1"."""
    for constraint in field.info.metadata:
        for name, words in BOUNDS.items():
            if (limit := getattr(constraint, name, None)) is not None:
                yield f"{words} {limit}"


def choices(kind: Any) -> tuple[str, ...]:
    """The values of a `Literal` or an enum, or of a sequence of them; none for other types."""
    kind = _item(kind)
    if get_origin(kind) is Literal:
        return tuple(map(str, get_args(kind)))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return tuple(str(member.value) for member in kind)
    return ()


def _item(kind: Any) -> Any:
    kind = get_args(kind)[0] if is_many(kind) else kind
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _shown(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ",".join(map(_shown, value))
    return str(value.value) if isinstance(value, Enum) else str(value)


# Values to models


def parse(model: type[BaseModel], prefix: str, given: Given, *, look: bool = True) -> Any:
    """Build a model from the values on the command line; raises click.UsageError.

    Without `look`, paths may be those of another machine.
    """
    values: dict[str, Any] = {}
    fields = {field.path: field for field in job_fields(model)}
    for path, field in fields.items():
        value = _value(field, given["__".join((prefix, *path))], look)
        if value is not None:
            inner = values
            for name in path[:-1]:
                inner = inner.setdefault(name, {})
            inner[path[-1]] = value
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise click.UsageError(sentence(fields, error)) from None


def _value(field: JobField, given: Any, look: bool) -> Any:
    """A value for pydantic to convert, or None if the option was not given."""
    kind = value_type(field.info.annotation)
    if field.is_argument and not is_many(kind) and isinstance(given, tuple):
        given = _at_most_one(field, given)
    if given is None or (is_many(kind) and not given):
        return None
    if is_many(kind) and _item(kind) is not Path and field.has_commas:
        given = tuple(part.strip() for text in given for part in text.split(",") if part.strip())
    if is_size(kind):
        width, _, height = given.partition("x")
        if not (width.isdigit() and height.isdigit()):
            raise click.UsageError(
                f"{field.label} is {given!r}; expected WIDTHxHEIGHT in pixels, such as 448x256."
            )
        return int(width), int(height)
    if look and extra(field.info, "must_exist"):
        return (
            tuple(_existing(field, p) for p in given) if is_many(kind) else _existing(field, given)
        )
    convert = _converter(_item(kind))
    return tuple(map(convert, given)) if is_many(kind) else convert(given)


def _at_most_one(field: JobField, given: tuple[str, ...]) -> str | None:
    if len(given) > 1:
        raise click.UsageError(f"Got unexpected extra arguments ({' '.join(given[1:])})")
    return given[0] if given else None


def _converter(kind: Any) -> Callable[[Any], Any]:
    """Function from text to a number; other values, and text that is none, stay as they are."""
    numbers = [int, float] if kind is float else [int] if kind is int else []

    def convert(text: Any) -> Any:
        for number in numbers:
            with suppress(ValueError):
                return number(text) if isinstance(text, str) else text
        return text

    return convert


def _existing(field: JobField, text: str) -> Path:
    if not Path(text).exists():
        raise click.UsageError(f"{field.label} is {text!r}, which does not exist.")
    return Path(text).resolve()


def _given(field: JobField, value: Any) -> str:
    """A refused value as text; one side of a size is too little to recognise it."""
    return f"{value} pixels" if is_size(value_type(field.info.annotation)) else _shown(value)


def sentence(fields: Mapping[tuple[str, ...], JobField], error: ValidationError) -> str:
    """Describe the first invalid value: the option, what was found, what is expected."""
    problem = error.errors()[0]
    field = next((f for path, f in fields.items() if problem["loc"][: len(path)] == path), None)
    if field is None or problem["type"] == "value_error":
        text = problem["msg"].removeprefix("Value error, ")
        text = text if field is None else f"{field.label}: {text}"
    elif problem["type"] == "missing":
        text = f"{field.label} is missing"
    else:
        text = (
            f"{field.label} is {_given(field, problem['input'])!r}; expected {expectation(problem)}"
        )
    return text if text.endswith(".") else f"{text}."
