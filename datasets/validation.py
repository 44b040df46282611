"""Validation errors of pydantic models in words: what was found, and what is expected."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticKnownError

BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
UNITS = {"h": "hours", "d": "days", "w": "weeks"}
MAX_PROBLEMS = 3  # of a damaged file
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


class Settings(BaseModel):
    """Base class of settings: immutable, without unknown fields, and with strict numbers.

    Pydantic takes true for 1, "7" for 7 and "yes" for true. Here a number is a number and a truth
    value is a truth value, in lists and mappings, too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _strict_scalars(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields.get(info.field_name or "")
        converts = field is None or any(isinstance(m, BeforeValidator) for m in field.metadata)
        if field is not None and not converts and (wanted := _refusal(field.annotation, value)):
            raise PydanticKnownError(cast(Any, wanted))
        return value


def _refusal(annotation: Any, value: Any) -> str:
    """Type of the error for a scalar that pydantic would convert; "" if there is none."""
    kinds = list(_alternatives(annotation))
    if isinstance(value, Mapping):
        inner = [get_args(kind)[1] for kind in kinds if len(get_args(kind)) == 2]
        return next(filter(None, (_refusal(k, v) for k in inner for v in value.values())), "")
    if isinstance(value, list | tuple):
        return next(filter(None, (_items_refusal(kind, value) for kind in kinds)), "")
    if not isinstance(value, bool | int | float | str) or type(value) in kinds:
        return ""
    classes = [kind for kind in kinds if isinstance(kind, type)]
    numbers = [kind for kind in classes if issubclass(kind, int | float) and kind is not bool]
    wanted = "float_type" if float in numbers else "int_type"
    if isinstance(value, bool):
        is_number = numbers or any(get_origin(kind) is Literal for kind in kinds)
        return wanted if is_number else ""
    if classes != kinds or not all(issubclass(kind, bool | int | float) for kind in classes):
        return ""  # text, a literal, a model: pydantic does not convert to these
    if not numbers:
        return "bool_type"
    is_fraction = isinstance(value, float) and float not in numbers
    return wanted if is_fraction or isinstance(value, str) else ""


def _items_refusal(kind: Any, values: Sequence[Any]) -> str:
    inner = [k for k in get_args(kind) if k is not Ellipsis]
    if not inner or get_origin(kind) not in (tuple, list, set, frozenset, Sequence):
        return ""
    kinds = inner if len(inner) == len(values) else inner[:1] * len(values)
    return next(filter(None, map(_refusal, kinds, values)), "")


def _alternatives(annotation: Any) -> Iterator[Any]:
    """Types that a value may have: those of a union, without None and annotations."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for inner in get_args(annotation):
            yield from _alternatives(inner)
    elif annotation is not type(None):
        yield annotation


def problems(model: type[BaseModel], error: ValidationError) -> list[str]:
    """Return one sentence per refused value: its place, what was found, and what is expected."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for problem in error.errors():
        place = ".".join(map(str, _named(problem["loc"])))
        found.setdefault(place, []).append(problem)
    return [_sentence(model, place, same) for place, same in found.items()]


def in_one_line(error: Exception) -> str:
    """Message of an error in one line; of a validation error, its first problems."""
    if not isinstance(error, ValidationError):
        return " ".join(str(error).split())
    shown = error.errors(include_url=False)[:MAX_PROBLEMS]
    texts = (f"{'.'.join(map(str, e['loc'])) or 'the whole'}: {e['msg']}" for e in shown)
    return " ".join("; ".join(texts).split())


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
