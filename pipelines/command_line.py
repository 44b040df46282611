"""A job as the command line that runs it, and options that take several values."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator

Value = TypeVar("Value")


def split_commas(value: Any) -> Any:
    """Split "a,b" and ["a,b", "c"] at commas and blanks; anything else is returned unchanged."""
    if isinstance(value, str):
        return value.replace(",", " ").split()
    if isinstance(value, Iterable) and not isinstance(value, dict):
        parts = [split_commas(item) if isinstance(item, str) else [item] for item in value]
        return [part for found in parts for part in found]
    return value


def require_unique(values: tuple[Value, ...]) -> tuple[Value, ...]:
    """Return the values; raises ValueError where one of them is given twice."""
    if len(set(values)) != len(values):
        raise ValueError(f"{', '.join(map(str, values))} names something twice")
    return values


Several = Annotated[
    tuple[Value, ...], BeforeValidator(split_commas), AfterValidator(require_unique)
]


def command_line(command: str, job: BaseModel, positional: Sequence[str]) -> str:
    """Command line of a job: its arguments in order, then every option that is not the default.

    Paths are shortened to their last part, so that the line names no folder of this machine.
    """
    options = [name for name in type(job).model_fields if name not in positional]
    parts = ["nightrain", command, *(_text(getattr(job, name)) for name in positional)]
    for name in options:
        value = getattr(job, name)
        if value != type(job).model_fields[name].get_default(call_default_factory=True):
            option = f"--{name.replace('_', '-')}"
            parts += [option] if value is True else [option, _text(value)]
    return " ".join(parts)


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    return value.name if isinstance(value, Path) else str(value)
