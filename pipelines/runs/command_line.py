"""Jobs on the command line: the option of each field, and the line that repeats a job.

A field is an option of its own name: `batch_size` is `--batch-size`, and `num_workers` is
`--workers`. Its `json_schema_extra` lists the exceptions:

{"cli": "argument"}   a positional argument
{"cli": "--json"}     an option of this name
{"cli": "none"}       not on the command line
{"cli_commas": False} a repeatable option whose values may contain commas
{"must_exist": True}  a path that has to exist when the command starts
"""

import shlex
import types
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo


@dataclass(frozen=True)
class JobField:
    """A field of a job, or of a model inside it, as it appears on the command line."""

    path: tuple[str, ...]  # ("settings", "size")
    info: FieldInfo

    @property
    def is_argument(self) -> bool:
        """Whether it is positional."""
        return extra(self.info, "cli") == "argument"

    @property
    def has_commas(self) -> bool:
        """Whether commas separate several values of the option."""
        return extra(self.info, "cli_commas") is not False

    @property
    def label(self) -> str:
        """Name on the command line: "--batch-size", or "DATASET" of a positional argument."""
        if self.is_argument:
            return self.path[-1].upper()
        given = extra(self.info, "cli")
        return str(given) if given else "--" + self.path[-1].removeprefix("num_").replace("_", "-")


def extra(info: FieldInfo, key: str) -> Any:
    """An entry of a field's `json_schema_extra`, or None."""
    return info.json_schema_extra.get(key) if isinstance(info.json_schema_extra, dict) else None


def value_type(annotation: Any) -> Any:
    """The type of a field without `None`: `int` for `int | None`."""
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        return kinds[0] if len(kinds) == 1 else annotation
    return annotation


def is_many(kind: Any) -> bool:
    """Whether a type holds any number of values: `tuple[int, ...]`, `list[str]`."""
    return get_origin(kind) is list or (get_origin(kind) is tuple and get_args(kind)[-1] is ...)


def is_size(kind: Any) -> bool:
    """Whether a type is (width, height) in pixels."""
    return get_origin(kind) is tuple and len(get_args(kind)) == 2 and not is_many(kind)


def job_fields(model: type[BaseModel], parents: tuple[str, ...] = ()) -> Iterator[JobField]:
    """Yield the fields that appear on the command line, including those of inner models."""
    for name, info in model.model_fields.items():
        kind = value_type(info.annotation)
        if extra(info, "cli") == "none":
            continue
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from job_fields(kind, (*parents, name))
        else:
            yield JobField((*parents, name), info)


def command_line(command: str, job: BaseModel) -> str:
    """Command line that repeats a job, such as "nightrain train world-student frames --seed 3".

    Options at their defaults are left out, and paths are shortened to their last part.
    """
    words = ["nightrain", command]
    for field in sorted(job_fields(type(job)), key=lambda field: not field.is_argument):
        value: Any = job
        for name in field.path:
            value = getattr(value, name)
        if field.is_argument:
            values = value if isinstance(value, tuple | list) else (value,)
            words += [_word(v) for v in values if v is not None]
        elif value != field.info.get_default(call_default_factory=True):
            words += _option_words(field, value)
    return shlex.join(words)


def _option_words(field: JobField, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [field.label if value else f"--no-{field.label.removeprefix('--')}"]
    if isinstance(value, tuple | list):
        if not field.has_commas:
            return [word for v in value for word in (field.label, _word(v))]
        between = "x" if is_size(value_type(field.info.annotation)) else ","
        return [field.label, between.join(map(_word, value))]
    return [field.label, _word(value)]


def _word(value: Any) -> str:
    if isinstance(value, Path):
        return value.resolve().name
    return str(value.value) if isinstance(value, Enum) else str(value)
