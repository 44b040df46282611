"""Validation errors of pydantic models in words: what was found, and what is expected."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
UNITS = {"h": "hours", "d": "days", "w": "weeks"}
MAX_SHOWN = 60  # characters of a refused value
Place = tuple[str | int, ...]
KINDS = {
    "model_type": "a mapping of options ({{}} for the defaults)",
    "dict_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
    "string_type": "text",
    "string_pattern_mismatch": "text that matches {pattern}",
}


def problems(model: type[BaseModel], error: ValidationError) -> list[str]:
    """Return one sentence per refused value: its place, what was found, and what is expected."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for problem in error.errors():
        place = ".".join(map(str, _named(problem["loc"])))
        found.setdefault(place, []).append(problem)
    return [_sentence(model, place, same) for place, same in found.items()]


def expectation(problem: Mapping[str, Any]) -> str:
    """What a value should have been: "at least 1", "a valid integer", "'a', 'b' or 'c'"."""
    limits = problem.get("ctx", {})
    bound = next((f"{words} {limits[k]}" for k, words in BOUNDS.items() if k in limits), "")
    kind = KINDS.get(problem["type"], "").format(**limits)
    return str(kind or limits.get("expected") or bound or _shortened(problem["msg"]))


def _sentence(model: type[BaseModel], place: str, same: list[Mapping[str, Any]]) -> str:
    problem = same[0]
    match problem["type"]:
        case "missing":
            return f"{place} is missing"
        case "extra_forbidden" | "invalid_key":
            options = ", ".join(_options(model, problem["loc"]))
            return f"{place} is not an option; expected one of {options}"
        case "value_error":
            message = problem["msg"].removeprefix("Value error, ")
            return f"{place}: {message}" if place else message
    expected = " or ".join(dict.fromkeys(map(expectation, same)))
    value = repr(problem["input"])
    value = value if len(value) <= MAX_SHOWN else f"{value[:MAX_SHOWN]}..."
    return f"{place or 'the whole'} is {value}; expected {expected}"


def _named(place: Place) -> Iterator[str | int]:
    """The parts of a place that a user wrote: pydantic adds "[key]" and members of unions."""
    for part in place:
        if isinstance(part, int) or not (part in ("int", "str", "float", "bool") or "[" in part):
            yield part


def _options(model: type[BaseModel], place: Place) -> list[str]:
    """Names of the fields that the model of a place has."""
    for part in place[:-1]:
        field = model.model_fields.get(str(part))
        model = next(_models(field.annotation), model) if field else model
    return list(model.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Models in an annotation: `M` of `dict[str, M]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _shortened(message: str) -> str:
    """Pydantic's "Input should be a valid integer, unable to parse ..." as "a valid integer"."""
    expected = re.sub(r"^\w+ should (be|have) ", "", message)
    return re.split(r", unable| after validation", expected)[0]


def parse_since(text: str, now: datetime | None = None) -> datetime:
    """Parse "7d", "12h", "2w" (before now), or a date or time in ISO format (UTC by default).

    Raises ValueError.
    """
    number, unit = text[:-1], text[-1:]
    if number.isdecimal() and unit in UNITS and len(number) <= 6:
        return (now or datetime.now(UTC)) - timedelta(**{UNITS[unit]: int(number)})
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(
            f"{text!r} is not a time; expected a date such as 2026-11-20, or 12h, 7d or 2w"
        ) from error
    return when if when.tzinfo else when.replace(tzinfo=UTC)
